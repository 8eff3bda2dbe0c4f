"""Two models on a card that holds one: what the host will do, and what helps, said before the run."""

from __future__ import annotations

from collections.abc import Sequence

from comfy.model_patcher import ModelPatcher

from .low_rank import is_factored, is_plain
from .memory import Device, Load, distinct

FULL, LORA, LOW_RANK, REUSE = "a full anchor", "a LoRA anchor", "low_rank", "difference reuse"
RANK = 64  # for which the memory of a LoRA and of low_rank is said
REUSE_CALLS = 1.2  # model calls of a step, the default of calls_per_step


def ways(reference: ModelPatcher, anchors: Sequence[float], reuse_calls: float = REUSE_CALLS) -> dict[str, Load]:
    """How a reference and its anchors can be had on a device. anchors: sizes of those on weights of their own.

    The host loads the anchors first, each with all the room that is left; with difference reuse, which asks the
    reference at every step and an anchor now and then, the reference (`Run` orders it so).
    """
    size, count = float(reference.model_size()), len(anchors)
    lora, low_rank = adapter_sizes(reference, RANK)
    out = {
        FULL: Load([*anchors, size], [1.0] * (count + 1)),
        LORA: Load([count * lora, size], [1.0, count + 1.0]),
        LOW_RANK: Load([count * low_rank, size], [1.0, count + 1.0]),
        REUSE: Load([size, *anchors], [1.0] + [(reuse_calls - 1) / count] * count),
    }
    if reference.patches or not all(is_plain(weight) for weight in reference.model.diffusion_model.parameters()):
        del out[LOW_RANK]
    return out


def adapter_sizes(reference: ModelPatcher, rank: int) -> tuple[float, float]:
    """Bytes of a LoRA on all matrices, and of a low-rank difference, which has convolutions, norms and biases too."""
    lora = low_rank = 0
    for key, weight in reference.model.diffusion_model.named_parameters():
        itemsize = max(2, weight.dtype.itemsize)
        factors = rank * (weight.shape[0] + weight[0].numel()) * itemsize if weight.ndim > 1 else 0
        is_small = is_factored(key, weight.shape, rank)
        lora += factors if is_small and weight.ndim == 2 else 0
        low_rank += factors if is_small else weight.numel() * itemsize
    return float(lora), float(low_rank)


def own_sizes(reference: ModelPatcher, anchors: Sequence[ModelPatcher]) -> list[float]:
    """Sizes of the anchors that are no LoRAs on the reference's weights."""
    return [float(one.model_size()) for one in distinct([reference, *anchors])[1:]]


def advice(
    reference: ModelPatcher,
    anchors: Sequence[ModelPatcher],
    shape: Sequence[int],
    reuse_calls: float | None = None,
    device: Device | None = None,
) -> str:
    """What to do where reference and anchors do not fit together, best first; empty where they do, or where there is
    only one. shape: of the latents. reuse_calls: model calls of a step, of a run with difference reuse already."""
    sizes, now = own_sizes(reference, anchors), FULL if reuse_calls is None else REUSE
    device = device or Device.of(reference.load_device)
    working = device.working(reference, shape)
    possible = ways(reference, sizes, reuse_calls or REUSE_CALLS) if sizes else {}
    if not sizes or not possible[now].lacking(device, working):
        return ""
    moved = {name: load.streamed(device, working) for name, load in possible.items()}
    names = "anchor" if len(sizes) == 1 else "anchors"
    said = [
        f"Reference and {names} ({' + '.join(map(gib, (reference.model_size(), *sizes)))} GiB) do not fit on this "
        f"device together: {gib(device.free)} GiB are free, of which sampling takes {gib(working)}.",
        f"ComfyUI moves {gib(moved[now])} GiB of weights to it in every step."
        if device.streams
        else "ComfyUI may run out of memory, or the system become very slow.",
    ]
    if not device.streams:
        better = [name for name in possible if name not in (FULL, REUSE)]
    else:
        better = sorted((n for n in possible if moved[n] < moved[now]), key=lambda n: (moved[n], possible[n].size))
    if better:
        ways_out = (_way(name, possible[name], working, moved[name] if device.streams else None) for name in better)
        said.append(f"What helps, best first: {'; '.join(ways_out)}.")
    return " ".join(said)


def _way(name: str, load: Load, working: float, moved: float | None) -> str:
    words = {
        LORA: "a LoRA anchor",
        LOW_RANK: "low_rank on Load Anchor Model",
        REUSE: f"fewer_calls “{REUSE}”",
    }[name]
    facts = [f"rank {RANK}"] if name != REUSE else []
    facts.append(f"{gib(load.size + working)} GiB in all")
    facts += [f"{gib(moved)} moved per step"] if moved is not None else []
    return f"{words} ({', '.join(facts)})"


def gib(size: float) -> str:
    return f"{size / 2**30:.1f}"
