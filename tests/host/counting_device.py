"""A device that is not there: tensors that say they are on Apple's GPU, compute on the CPU, and tell what waits.

As on that device a tensor cannot be fp64, and tensors of two devices cannot be mixed. Whatever needs a value on the CPU
(a copy, an `if`, `.item()`) waits for all that the device has to do: it is counted, with the pack's line that asks.
The host runs in the mode that it has for such machines.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path

import comfy.model_management
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps")
PACK = Path(__file__).resolve().parents[2]
OURS = tuple(str(PACK / folder) for folder in ("nodes", "realign_core"))
WAITS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "equal", "allclose", "nonzero", "unique"}
WAITS |= {"masked_select", "is_nonzero", "numpy", "cpu", "__contains__", "isclose_all"}
LIKE = {"empty_like", "zeros_like", "ones_like", "rand_like", "randn_like", "full_like"}
MIXES = {"__getitem__", "__setitem__", "copy_"}  # of two devices
ASKS = {"_has_compatible_shallow_copy_type", "is_same_size", "__set__"}  # nothing of the values


class Away(torch.Tensor):
    """On the device."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return Device.now.run(function, args, kwargs or {})

    def __reduce_ex__(self, protocol):
        return _away, (self.as_subclass(torch.Tensor),)

    def __deepcopy__(self, memo):
        with torch._C.DisableTorchFunctionSubclass():
            plain = self.as_subclass(torch.Tensor).clone()
            out = _away(plain)
            if isinstance(self, torch.nn.Parameter):
                out = torch.nn.Parameter(out, requires_grad=self.requires_grad)
        memo[id(self)] = out
        return out


def _away(plain):
    with torch._C.DisableTorchFunctionSubclass():
        return plain.as_subclass(Away)


class Device(TorchFunctionMode):
    """While it is active there is such a device. waits: how often each line of the pack has waited for it."""

    now = None

    def __init__(self):
        super().__init__()
        self.waits = collections.Counter()

    def __enter__(self):
        Device.now = self
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        Device.now = None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return self.run(function, args, kwargs or {})

    def run(self, function, args, kwargs):
        name = getattr(function, "__name__", "")
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        away = [value for value in tensors if isinstance(value, Away)]
        if name == "__get__":
            owner = getattr(function, "__self__", None)
            attribute = getattr(owner, "__name__", "")
            if attribute == "device" and away:
                return DEVICE
            if attribute in ("is_mps", "is_cpu") and away:
                return attribute == "is_mps"
        if name == "to" and tensors:
            return self._moved(*_parsed(*args, **kwargs))
        if _is_device(kwargs.get("device")):
            return self._made(function, args, kwargs, tensors)
        if away:
            self._check(name, args, tensors)
        with torch._C.DisableTorchFunctionSubclass():
            out = function(*args, **kwargs)
            return tree_map(_plain, out) if name in ("cpu", "numpy") else self._wrapped(out, bool(away))

    def _moved(self, value, device, dtype, non_blocking, copy):
        """Tensor.to."""
        was = isinstance(value, Away)
        will = was if device is None else torch.device(device).type == DEVICE.type
        if was != will and not non_blocking:
            self._waited("to")
        if was == will and (dtype is None or dtype == value.dtype) and not copy:
            return value
        with torch._C.DisableTorchFunctionSubclass():
            out = _plain(value).to(dtype or value.dtype, copy=copy or was != will)
            return self._wrapped(out, True) if will else _plain(out)

    def _made(self, function, args, kwargs, tensors):
        """A tensor made on a device that the call names."""
        here = torch.device(kwargs["device"]).type != DEVICE.type
        if any(isinstance(value, Away) == here for value in tensors) and getattr(function, "__name__", "") not in LIKE:
            self._waited(function.__name__)
        rest = {key: value for key, value in kwargs.items() if key != "device"}
        with torch._C.DisableTorchFunctionSubclass():
            out = function(*tree_map(_plain, args), **tree_map(_plain, rest))
            return tree_map(_plain, out) if here else self._wrapped(out, True)

    def _check(self, name, args, tensors):
        apart = [value for value in tensors if not isinstance(value, Away) and value.ndim]
        if name in ASKS:
            return
        if apart and name not in MIXES:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, mps and cpu")
        if name in WAITS or (apart and name in MIXES) or _by_mask(name, args):
            self._waited(name)

    def _wrapped(self, out, away):
        def wrap(value):
            if not isinstance(value, torch.Tensor) or not away or isinstance(value, Away):
                checked = value
            else:
                checked = value.as_subclass(Away)
            if isinstance(checked, Away) and checked.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype: the framework does not support it")
            return checked

        return tree_map(wrap, out)

    def _waited(self, name):
        frame, line = sys._getframe(2), None
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(OURS):
                line = f"{Path(file).relative_to(PACK)}:{frame.f_lineno} {name}"
                break
            if file != __file__ and ("/comfy" in file or "/tests/" in file):
                break  # the host's own, or the test's
            frame = frame.f_back
        if line:
            self.waits[line] += 1


def _plain(value):
    return value.as_subclass(torch.Tensor) if isinstance(value, Away) else value


def _by_mask(name, args):
    index = args[1] if name in ("__getitem__", "__setitem__") and len(args) > 1 else None
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in parts)


def _is_device(value):
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("mps", "cpu"))


def _parsed(value, *args, device=None, dtype=None, non_blocking=False, copy=False, other=None, memory_format=None):
    """Of Tensor.to: (tensor, device, dtype, non_blocking, copy)."""
    if args and isinstance(args[0], torch.Tensor):
        other, *args = args
    elif args and (args[0] is None or _is_device(args[0])):
        device, *args = args
    if args and (args[0] is None or isinstance(args[0], torch.dtype)):
        dtype, *args = args
    if args:
        non_blocking, *args = args
    if args:
        copy, *args = args
    if other is not None:
        device, dtype = (DEVICE if isinstance(other, Away) else torch.device("cpu")), other.dtype
    return value, device, dtype, non_blocking, copy


class _Generator(torch.Generator):
    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@pytest.fixture
def device(monkeypatch):
    management = comfy.model_management
    management.unload_all_models()
    monkeypatch.setattr(management, "cpu_state", management.CPUState.MPS)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.SHARED)
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.mps, "get_rng_state", torch.get_rng_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", torch.set_rng_state)
    monkeypatch.setattr(torch, "Generator", _Generator)
    with Device() as made:
        yield made
        management.unload_all_models()
