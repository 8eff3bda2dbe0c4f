"""What would wait for a device, seen on PyTorch's meta device, which stands for a GPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from realign_core import NoiseLevel, reverse_posterior
from realign_core.devices import kept_on
from realign_core.sampling import per_element


class Transfers(TorchDispatchMode):
    """Counts copies of CPU tensors to the device: each waits for all it has to do."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and torch.device(kwargs.get("device") or "cpu").type == "meta":
            self.count += args[0].device.type == "cpu" and not kwargs.get("non_blocking")
        return function(*args, **kwargs)


def test_a_posterior_step_waits_for_no_device():
    x = torch.empty(1, 4, 8, 8, device="meta")
    with torch.inference_mode(False), Transfers() as transfers:  # in inference mode `to` is seen before it is a copy
        reverse_posterior(x, x, NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0), 1.0)
    assert transfers.count == 0


def test_lambda_per_picture_stays_on_the_cpu():
    """There it is known without waiting which pictures need which model; on the device every model is asked for all."""
    x = torch.empty(2, 4, 8, 8, device="meta")
    once = per_element(torch.tensor([0.0, 1.0]), x)
    assert once.device.type == "cpu"
    assert per_element(once, x).device.type == "cpu"
    assert per_element(torch.rand(8, 8), x).device.type == "meta"  # a map is where x is


def test_small_numbers_are_copied_once():
    device = torch.device("meta")
    with torch.inference_mode(False), Transfers() as transfers:
        one, again = (kept_on(device, torch.tensor([[0.25], [0.5]])) for _ in range(2))
        assert one is again
        assert one.shape == (2, 1)
        assert transfers.count <= 1
        assert kept_on(device, torch.tensor([0.25, 0.5])) is not one  # of another shape
        kept_on(device, torch.rand(5000))
        kept_on(device, torch.rand(5000))
    assert kept_on(torch.device("cpu"), values := torch.rand(3)) is values


def test_what_is_kept_has_the_numbers():
    from realign_core import devices

    values = torch.tensor([[0.1, -2.0], [3.0, 1e-30]])
    with torch.inference_mode():
        kept = devices._kept(tuple(values.flatten().tolist()), values.dtype, (2, 2), torch.device("cpu"))
    assert torch.equal(kept, values)
    assert not kept.is_inference()
