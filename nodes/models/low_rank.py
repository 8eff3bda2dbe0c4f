"""A full anchor as reference + low-rank difference: a LoRA made of the two models' weights."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange

from .layouts import StateDict

PREFIX = "diffusion_model."
FORMAT = "1"  # of the difference and of the way it is made: another number, and cached files are made again
_PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OVERSAMPLING, _POWER_ITERATIONS, _SEED = 32, 8, 0  # at least 98 % of what the best factors keep, of pure noise too
_EXACT = "use low_rank = 0"


def factorise(reference: ModelPatcher, anchor: ModelPatcher, rank: int) -> tuple[StateDict, float]:
    """anchor - reference as a LoRA in the host's names, and the share of it (of Σ‖Δ‖²) that the LoRA keeps.

    Matrices and convolutions become `lora_up` (out, r) and `lora_down` (r, in, …), without alpha: scale 1. Norms,
    biases and layers that are no larger than their factors stay whole, as `diff` and `diff_b`. One layer at a time.

    Raises ValueError where the two cannot be subtracted, or the host could not add a difference back.
    """
    ours, theirs = _compared(reference, anchor)
    patchable = _patchable(reference)
    device = _device(max(value.numel() for value in ours.values()))
    progress = comfy.utils.ProgressBar(len(ours))
    out: StateDict = {}
    total = lost = 0.0
    for key, weight in ours.items():
        comfy.model_management.throw_exception_if_processing_interrupted()
        progress.update(1)
        if not weight.is_floating_point() or torch.equal(theirs[key].to(weight), weight):
            continue  # equal, once the anchor is in the reference's number format
        delta = theirs[key].to(device, torch.float32) - weight.to(device, torch.float32)
        if not bool(torch.isfinite(delta).all()):
            raise ValueError(
                f"The difference of anchor and reference in {_short(key)} is not finite (NaN or infinity): one of the "
                "two files is broken, so download it again."
            )
        if key not in patchable:
            raise ValueError(
                f"The anchor differs from the reference in {_short(key)}, which ComfyUI cannot patch, so reference + "
                f"low-rank difference would not be this anchor: {_EXACT}."
            )
        parts, kept = _parts(key, delta, weight.dtype, rank, f"{key.removesuffix('.bias')}.weight" in ours)
        out.update(parts)
        total += _energy(delta)
        lost += _energy(delta - kept)
    if not out:
        raise ValueError(f"The anchor's weights are the reference's own: choose the aligned model, or {_EXACT}.")
    return out, 1.0 - lost / total


def _parts(
    key: str, delta: torch.Tensor, dtype: torch.dtype, rank: int, has_weight: bool
) -> tuple[StateDict, torch.Tensor]:
    """A layer's entries in the file, and the difference that they stand for in the precision they are stored in.

    has_weight: whether a bias has a weight beside it, without which the host knows no `diff_b`.
    """
    layer = key.removesuffix(".weight")
    if is_factored(key, delta.shape, rank):
        up, down = (part.to(dtype) for part in _factors(rearrange(delta, "out ... -> out (...)"), rank))
        kept = (up.float() @ down.float()).view_as(delta)
        up, down = up.view(*up.shape, *[1] * (delta.ndim - 2)), down.view(-1, *delta.shape[1:])
        return {f"{layer}.lora_up.weight": up.cpu(), f"{layer}.lora_down.weight": down.cpu()}, kept
    whole = delta.to(dtype)
    name = f"{key.removesuffix('.bias')}.diff_b" if key.endswith(".bias") and has_weight else f"{layer}.diff"
    return {name: whole.cpu().contiguous()}, whole.float()


def is_factored(key: str, shape: Sequence[int], rank: int) -> bool:
    """Whether a weight's difference becomes two factors, since they are smaller than it."""
    size = torch.Size(shape)
    return key.endswith(".weight") and len(size) > 1 and rank * (size[0] + size[1:].numel()) < size.numel()


def is_plain(weight: torch.Tensor) -> bool:
    """Whether it is a tensor of 16, 32 or 64 bit floats, which can be subtracted."""
    return type(weight) in (torch.Tensor, torch.nn.Parameter) and weight.dtype in _PLAIN


def _factors(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """up (m, r) and down (r, n) by a randomised SVD; √s goes to each, so that half precision holds both.

    The random numbers are the same each time, and the program's own are left as they were.
    """
    with torch.random.fork_rng(devices=[matrix.device] if matrix.device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        columns = min(rank + _OVERSAMPLING, *matrix.shape)
        u, s, v = torch.svd_lowrank(matrix, q=columns, niter=_POWER_ITERATIONS)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).contiguous(), rearrange(v[:, :rank] * root, "n r -> r n").contiguous()


def _energy(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) ** 2


def _device(largest: int) -> torch.device:
    """Where the host computes, with room made for the largest layer; other back ends than CUDA lack parts of an SVD."""
    device: torch.device = comfy.model_management.get_torch_device()
    if device.type != "cuda":
        return torch.device("cpu")
    comfy.model_management.free_memory(8 * 4 * largest, device)
    return device


def weights_of(patcher: ModelPatcher) -> StateDict:
    """The diffusion model's own weights, whatever patches of its clones the host has on them at the moment."""
    out = {k: v for k, v in patcher.model_state_dict().items() if k.startswith(PREFIX)}
    out.update((k, v[0]) for k, v in patcher.hook_backup.items() if k in out)
    out.update((k, v.weight) for k, v in patcher.backup.items() if k in out)  # older than what hooks found
    return out


def _compared(reference: ModelPatcher, anchor: ModelPatcher) -> tuple[StateDict, StateDict]:
    """The weights of both. Raises ValueError unless they are unpatched, plain floats, and of the same layers."""
    ours, theirs = weights_of(reference), weights_of(anchor)
    if reference.patches:
        raise ValueError(
            "The reference model carries a LoRA or other weight patches, which a low-rank difference would leave out: "
            f"connect the model as its loader gives it, or {_EXACT}."
        )
    for what, weights, others in (("reference", ours, theirs), ("anchor", theirs, ours)):
        for key, value in weights.items():
            if key not in others or others[key].shape != value.shape:
                raise ValueError(f"Reference and anchor do not agree in the size of {_short(key)}: {_EXACT}.")
            plain = is_plain(value)
            # Counters and index tables are no weights; they only have to be the same.
            if not plain and (key.endswith((".weight", ".bias")) or not torch.equal(value, others[key].to(value))):
                raise ValueError(
                    f"The {what} is quantised ({_short(key)} is {str(value.dtype).removeprefix('torch.')}), and a "
                    f"low-rank difference needs plain 16 or 32 bit weights: load such a version, or {_EXACT}."
                )
    return ours, theirs


def _patchable(patcher: ModelPatcher) -> set[str]:
    """The weights that the host patches: no buffers, and no parameter of a module that has modules with some below.

    Where the host loads weights layer by layer on demand, only layers of its own kind (comfy/model_patcher.py, `load`).
    """
    out = set()
    for name, module in patcher.model.named_modules():
        below = any(True for child in module.children() for _ in child.parameters())
        if not below and (hasattr(module, "comfy_cast_weights") or not patcher.is_dynamic()):
            out.update(f"{name}.{key}" for key, _ in module.named_parameters(recurse=False))
    return out


def _short(key: str) -> str:
    return f"“{key.removeprefix(PREFIX)}”"
