"""Realign beside node packs of others, as a table: each of their nodes that patches, guides or samples a MODEL.

    python benchmarks/packs.py --host COMFYUI --packs FOLDER [--only NAME …] [--out docs/packs.md]

FOLDER holds the packs as custom_nodes/ would: a folder each, which is only read. A pack is loaded beside Realign in a
ComfyUI of its own, in a scratch base directory; what it lacks in this interpreter's environment it has to do without.
Each of its nodes then runs on small random models at every place where it can stand, and the latent is compared with
the truth: two more ComfyUIs without Realign sample with one model each, and give each other their answers at every
step (packs_probe.py). Distances are the largest difference in standard deviations of the true latent. `--out`
keeps what the page says of other packs.

Packs are programs: run only those that you would install.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from packs_cases import CASES, add_files
from packs_graphs import ANCHORS, BEFORE, BEHIND, PROMPT, Case, Description, Graph, places, realigned, stock
from packs_report import Row, Tried, page, read, section, sentence, summary, told, version_of
from safetensors.torch import load_file, save_file

PACK = Path(__file__).resolve().parents[1]
sys.path += [str(PACK), str(PACK / "tests" / "host")]

from tools.cache import say  # noqa: E402
from tools.host.host_process import Host, HostError  # noqa: E402
from tools.host.matrix import version_of as version_of_host  # noqa: E402
from tools.train.demo_host import import_host  # noqa: E402

KINDS = ("sd15", "sd3", "flux")  # tried in this order, until a node does something
RIGHT = 2e-4  # standard deviations; rounding stays far below
ROUNDING = 1e-6  # of an answer's standard deviation: what a LoRA in the forward pass differs from merged weights
NOTHING = 1e-6  # what a node that does nothing changes
LIMIT = 120.0  # seconds of a run
SIDES = ("reference", "anchor")


class Trio:
    """Three ComfyUIs with one pack: two without Realign, one with."""

    def __init__(self, python: str, host: str, pack: Path | None, models: Path, folder: Path):
        self.hosts = []
        for name in (*SIDES, "realign"):
            base = folder / name
            (base / "custom_nodes" / "realign_probe").mkdir(parents=True)
            shutil.copy(PACK / "benchmarks" / "packs_probe.py", base / "custom_nodes" / "realign_probe" / "__init__.py")
            (base / "models").symlink_to(models, target_is_directory=True)
            if pack is not None:
                shutil.copytree(pack, base / "custom_nodes" / pack.name, ignore=shutil.ignore_patterns(".git"))
                add_files(pack.name, base)
            self.hosts.append(Host(python, host, ["--cache-none"], base, with_pack=name == "realign"))
            # Some packs import themselves as custom_nodes.their_name, as they lie in ComfyUI's own folder.
            self.hosts[-1].environment["PYTHONPATH"] = str(base)

    def __enter__(self) -> Trio:
        try:
            with ThreadPoolExecutor(len(self.hosts)) as pool:
                list(pool.map(Host.start, self.hosts))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        for host in self.hosts:
            host.stop()

    def truth(self, graphs: Callable[[str, int], Graph]) -> torch.Tensor:
        """The latent of the mixture. graphs: (side, port) → graph. Raises HostError."""
        port = free_port()
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(latent_of, host, graphs(side, port)) for host, side in zip(self.hosts, SIDES)]
        one, other = (run.result() for run in runs)
        if not distance(one, other) <= NOTHING:
            raise HostError("the two runs part although their models answer alike: this does more than the model")
        return one

    def ours(self, graph: Graph) -> torch.Tensor:
        return latent_of(self.hosts[-1], graph)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def latent_of(host: Host, graph: Graph) -> torch.Tensor:
    """What a graph saves, (B, C, H, W). Raises HostError; a host that hangs or has ended is then another one."""
    try:
        (file,) = host.run(graph, limit=LIMIT)["saved"]["latents"]
    except HostError:
        if not at_rest(host):
            host.stop()
            host.start()
        raise
    return load_file(host.base / "output" / file["subfolder"] / file["filename"])["latent_tensor"].double()


def at_rest(host: Host) -> bool:
    try:
        return not host.get("/queue")["queue_running"]
    except OSError:
        return False


def distance(ours: torch.Tensor, true: torch.Tensor) -> float:
    return float((ours - true).abs().max() / true.std()) if ours.shape == true.shape else float("inf")


class Pack:
    """The rows of one pack."""

    def __init__(self, trio: Trio, name: str, only: list[str] | None, minutes: float):
        self.trio, self.name, self.only = trio, name, only
        self.end = time.monotonic() + 60 * minutes
        self.known: dict[str, Description] = trio.hosts[-1].get("/object_info")
        self.true: dict[str, torch.Tensor] = {}  # by graph
        self.rows: list[Row] = []
        self.idle: list[str] = []  # nodes that change nothing here
        self.broken: dict[str, str] = {}  # nodes that fail without Realign, and how
        self.late: list[str] = []  # nodes for which no time was left

    def nodes(self) -> list[str]:
        own = f"custom_nodes.{self.name}"
        found = [node for node, about in self.known.items() if about["python_module"] in (own, own.replace("-", "_"))]
        return [node for node in found if not self.only or node in self.only]

    def run(self) -> None:
        for node in self.nodes():
            if time.monotonic() > self.end:
                self.late += [node] if places(self.known[node]) else []
                continue
            given = [case for case in CASES if case.node == node]
            for place in [case.place for case in given if case.place] or places(self.known[node]):
                self._try(node, place, given)

    def _try(self, node: str, place: str, given: list[Case]) -> None:
        """Add a row, or note why there is none. The first architecture counts on which the node does something."""
        cases = [case for case in given if case.place in ("", place)] or [Case(node, kind=kind) for kind in KINDS]
        idle, why = False, ""
        for case in (Case(node, place, case.kind, case.inputs, case.also) for case in cases):
            try:
                if self._matters(case):
                    self.rows.append(Row(node, place, tuple(self._verdict(case, anchor) for anchor in ANCHORS)))
                    say(f"  {node}, {place}, {case.kind}: {' | '.join(self.rows[-1].verdicts)}")
                    return
                idle = True
            except (HostError, KeyError) as error:
                why = why or told(error)
        if idle:
            self.idle.append(node)
        else:
            self.broken[node] = why

    def _truth(self, case: Case, anchor: str, disturbed: float = 0.0) -> torch.Tensor:
        """Of a case, or without a node. Kept, as it is asked for more than once."""

        def graph(side: str, port: int) -> Graph:
            return stock(case, self.known, anchor, side, port, disturbed)

        key = json.dumps([graph(side, 0) for side in SIDES])
        if key not in self.true:
            self.true[key] = self.trio.truth(graph)
        return self.true[key]

    def _matters(self, case: Case) -> bool:
        """Whether a node that patches changes the truth; of one that samples, whether it asks the models."""
        patches = case.place in (BEFORE, BEHIND, PROMPT)
        other = self._truth(Case("", "", case.kind), ANCHORS[0]) if patches else self._truth(case, ANCHORS[1])
        return distance(self._truth(case, ANCHORS[0]), other) > NOTHING

    def _verdict(self, case: Case, anchor: str) -> str:
        try:
            true = self._truth(case, anchor)
            ours = self.trio.ours(realigned(case, self.known, anchor))
        except (HostError, KeyError) as error:
            return told(error)
        if not bool(torch.isfinite(ours).all()):
            return "**not finite**"
        off = distance(ours, true)
        if off <= RIGHT:
            return f"{off:.0e}" if off else "0"
        # Nodes that compare and cut off make much of little: by noise of rounding's size the truth itself moves as far.
        rounding = distance(self._truth(case, anchor, ROUNDING), true)
        return f"{off:.0e} (rounding: {rounding:.0e})" if off <= 10 * rounding else f"**{off:.2g}**"


@contextlib.contextmanager
def small_models(host: str) -> Iterator[Path]:
    """A folder of models with `KINDS`, their anchors and a LoRA for each, in a process that is no host's."""
    import_host(host)
    from comfy.taesd.taesd import TAESD
    from tiny_models import TinyModels, fill

    with tempfile.TemporaryDirectory(prefix="realign-packs-") as scratch:
        folder = Path(scratch)
        for name in ("checkpoints", "loras", "controlnet", "vae"):
            (folder / name).mkdir()
        tiny = TinyModels(folder)
        for kind in KINDS:
            tiny.reference(kind)
            tiny.anchor(kind)
            parts = {}
            for layer, (up, down) in tiny.lora_weights(kind, 31).items():
                key = "lora_unet_" + layer.replace(".", "_") if kind == "sd15" else "diffusion_model." + layer
                parts |= {key + ".lora_up.weight": up, key + ".lora_down.weight": down}
            save_file(parts, folder / "loras" / f"{kind}.safetensors")
        tiny.controlnet()
        save_file(fill(TAESD(latent_channels=4), torch.Generator().manual_seed(9)), folder / "vae/small.safetensors")
        yield folder


def failure_of(host: Host, pack: Path) -> str:
    """Why the host did not take the pack; "" if it did."""
    log = host.log_path.read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"Cannot import \S*/{re.escape(pack.name)} module for custom nodes: (.*)", log)
    return sentence(found[1]) if found else ""


def tried(pack: Path, options: argparse.Namespace, models: Path) -> Tried:
    about = pack.name, version_of(pack), version_of_host(Path(options.host))
    say(" ".join(about))
    with tempfile.TemporaryDirectory(prefix="realign-packs-") as scratch:
        try:
            with Trio(sys.executable, options.host, pack, models, Path(scratch)) as trio:
                if why := failure_of(trio.hosts[-1], pack):
                    return Tried(*about, f"not loaded: {why}", "")
                run = Pack(trio, pack.name, options.nodes, options.minutes)
                run.run()
        except HostError as error:
            return Tried(*about, f"the ComfyUI ended: {told(error)}", "")
    others = len(run.idle) + len(run.broken) + len(run.late)
    return Tried(*about, summary(run.rows, others), section(run.rows, run.idle, run.broken, run.late))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", required=True, help="ComfyUI's folder")
    parser.add_argument("--packs", required=True, type=Path, help="a folder of node packs")
    parser.add_argument("--only", nargs="+", help="of the packs, these alone")
    parser.add_argument("--nodes", nargs="+", help="of their nodes, these alone; for a look, not for the page")
    parser.add_argument("--minutes", type=float, default=60.0, help="for a pack; it names what it has not reached")
    parser.add_argument("--out", type=Path, help="the page to write the tables into")
    options = parser.parse_args()
    if options.nodes and options.out:
        parser.error("--out is for whole packs: leave --nodes out")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the ComfyUIs end, too
    os.environ["PIP_NO_INDEX"] = "1"  # a pack is not to change this interpreter's environment
    packs = sorted((path for path in options.packs.iterdir() if (path / "__init__.py").is_file()), key=lambda p: p.name)
    done: dict[str, Tried] = {}
    with small_models(options.host) as models:
        for pack in packs:
            if not options.only or pack.name in options.only:
                done[pack.name] = tried(pack, options, models)
                say(f"  {done[pack.name].verdict}")
                if options.out:
                    before = read(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
                    options.out.write_text(page(before | done, RIGHT), encoding="utf-8")
    print(page(done, RIGHT))
    return int(any("wrong" in one.verdict for one in done.values()))


if __name__ == "__main__":
    sys.exit(main())
