"""How far rounding alone moves what a model says, measured on the machine at hand.

Two right ways to compute a number differ by rounding: other sums, another kernel, a LoRA that is added to the weights,
which are then rounded, or to what a layer gives. So a model is run once more with what enters each of its layers moved
by as much as its rounding is, at most. By how much the answers move is what rounding does on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ..models.layers import stored_bits
from ..models.put_on import compiling

TIMES = 4  # two errors of one size add up to twice it, and the largest of many is another one in each run
FP32 = torch.finfo(torch.float32).eps
COARSE = {8: 2.0**-3, 4: 2.0**-1}  # of numbers of so many bits, where torch does not say: as of float8_e4m3 and fp4


@contextmanager
def shaken(patcher: ModelPatcher) -> Iterator[Callable[[Tensor], Tensor]]:
    """While it goes on, what enters the network's layers is moved by its rounding, at most. Yields what moves an x.

    A layer whose weight is patched is moved by the weight's own number format, in which the host keeps the sum.
    """
    patched, generators = set(patcher.patches), {}
    compute = _unit(patcher.model.get_dtype_inference()) / 2

    def moved(x: Tensor, most: float) -> Tensor:
        if x.device not in generators:
            generators[x.device] = torch.Generator(x.device).manual_seed(0)  # no draw of the run's own
        noise = torch.rand(x.shape, generator=generators[x.device], device=x.device, dtype=torch.float32)
        return (x.float() * (1 + most * (2 * noise - 1))).to(x.dtype)

    handles, coarsest = [], compute
    for name, module in patcher.model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or not (hasattr(module, "in_features") or hasattr(module, "in_channels")):
            continue
        own = max(_unit_of(weight) / 2 if f"{name}.weight" in patched else 0.0, _of_sums(module))
        coarsest = max(coarsest, own)
        if not compiling(patcher):  # a compiled module would be compiled anew
            handles.append(module.register_forward_pre_hook(_mover(moved, own)))
    try:
        yield lambda x: moved(x, coarsest if compiling(patcher) else compute)
    finally:
        for handle in handles:
            handle.remove()


def _mover(moved: Callable[[Tensor, float], Tensor], own: float) -> Callable[..., Any]:
    def before(module: torch.nn.Module, args: tuple[Any, ...]) -> Any:
        if not args or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
            return None
        return (moved(args[0], max(own, _unit(args[0].dtype) / 2)), *args[1:])

    return before


def _of_sums(module: Any) -> float:
    """The share by which moving each of n terms moves their sum as much as adding them up one by one in fp32 does.

    Sums of terms of size s are of size s·√k on their way, each rounded by 0.29 units: 0.2·n·s in all. n terms that are
    moved by up to d each move their sum by 0.58·√n·s·d.
    """
    terms = getattr(module, "in_features", None) or module.in_channels * math.prod(module.kernel_size) // module.groups
    return FP32 * math.sqrt(terms) / 3


def _unit_of(weight: Tensor) -> float:
    """One unit of the last digit, as a share, of a weight as it is stored."""
    if isinstance(weight, QuantizedTensor):
        return COARSE[8 if stored_bits(weight) > 6 else 4]
    return _unit(weight.dtype)


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point else COARSE[8] if dtype == torch.int8 else FP32
