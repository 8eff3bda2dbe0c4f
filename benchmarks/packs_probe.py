"""Nodes for the hosts that packs.py starts: a prompt without a text encoder, and what lets two runs go in lockstep.

packs.py copies this file into their custom_nodes/. Nothing of Realign takes part in it.
"""

import time
from multiprocessing.connection import Client, Connection, Listener

import torch

WIDTH = {"sd15": 768, "sdxl": 2048, "sd3": 4096, "flux": 64}
POOLED = {"sdxl": 1280, "sd3": 2048, "flux": 32}
KEY = b"realign"
PATIENCE = 60.0  # seconds that one run waits for the other


class ProbePrompt:
    """CONDITIONING: seeded noise in the shape that an architecture's text encoder gives."""

    CATEGORY, FUNCTION, RETURN_TYPES = "realign/probe", "make", ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(WIDTH),), "seed": ("INT", {"default": 0})}}

    def make(self, kind, seed):
        generator = torch.Generator().manual_seed(seed)
        options = {"pooled_output": torch.randn(1, POOLED[kind], generator=generator)} if kind in POOLED else {}
        return ([[torch.randn(1, 12, WIDTH[kind], generator=generator), options]],)


class ProbeSwap:
    """MODEL whose answer at every question is (1 - λ) of its own and λ of the other run's, or the other way round.

    The other run is another host's, with the other model and this node's other side: both sample the same mixture, and
    each is a whole stock run of one model. They meet at a port of this machine.
    """

    CATEGORY, FUNCTION, RETURN_TYPES = "realign/probe", "patch", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "weight": ("FLOAT", {"default": 0.5, "min": -10.0, "max": 10.0}),  # λ
                "side": (["reference", "anchor"],),
                "port": ("INT", {"default": 0, "max": 65535}),
                "disturbed": ("FLOAT", {"default": 0.0, "max": 1.0}),  # noise on each mixture, of its own size
            }
        }

    def patch(self, model, weight, side, port, disturbed):
        line: list[Connection] = []
        generator = torch.Generator().manual_seed(1)  # the same in both runs

        def swap(executor, *args, **kwargs):
            own = executor(*args, **kwargs)
            if not line:
                line.append(connected(port, side == "reference"))
            line[0].send(own.float().cpu().numpy())
            if not line[0].poll(PATIENCE):
                raise RuntimeError("the other run asks its model less often")
            other = torch.from_numpy(line[0].recv()).to(own)
            pair = (own, other) if side == "reference" else (other, own)
            mixed = torch.lerp(pair[0].double(), pair[1].double(), weight)
            noise = torch.randn(mixed.shape, generator=generator, dtype=mixed.dtype).to(mixed)
            return (mixed + disturbed * mixed.std() * noise).to(own.dtype)

        model = model.clone()
        model.add_wrapper_with_key("predict_noise", "realign_probe", swap)
        return (model,)


def connected(port, listens):
    """A connection to the other run, whichever comes first."""
    end = time.monotonic() + PATIENCE
    if listens:
        with Listener(("127.0.0.1", port), authkey=KEY) as listener:
            listener._listener._socket.settimeout(PATIENCE)
            return listener.accept()
    while True:
        try:
            return Client(("127.0.0.1", port), authkey=KEY)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


NODE_CLASS_MAPPINGS = {"ProbePrompt": ProbePrompt, "ProbeSwap": ProbeSwap}
