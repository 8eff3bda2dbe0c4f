"""What the functions that nodes put on a model can remember things in: closures, objects, containers, module globals.

Found by walking from a function to all it holds and names. Nothing is called.
"""

from __future__ import annotations

import collections
import contextvars
import dis
import functools
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import comfy.model_patcher
import numpy as np
import torch

OWN = (__package__ or "").rpartition(".nodes.")[0]  # this pack
HOST = Path(comfy.model_patcher.__file__).parents[1]
EXTRAS = HOST / "comfy_extras", HOST / "custom_nodes"  # of the host's files, those with nodes
# Of the host's own modules, those whose objects are put on conditionings and options, and keep state there.
STATEFUL = {"comfy.controlnet", "comfy.hooks", "comfy.context_windows", "comfy.weight_adapter.bypass"}
ATOMS = (str, bytes, int, float, complex, bool, type(None), torch.Tensor, np.ndarray, torch.dtype, torch.device)
LIBRARIES = {"site-packages", "dist-packages"}
MAPPINGS = (dict, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
CONTAINERS = (*MAPPINGS, list, set, collections.deque)


class Place(Protocol):
    """Somewhere to remember things. holder: the object it belongs to, which keeps its id its own."""

    holder: Any

    def get(self) -> Any:
        """A copy of the contents, not of what is in them."""

    def put(self, contents: Any) -> None: ...


def same(one: Any, other: Any) -> bool:
    """Whether two contents hold the very same things."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other))
    return one is other


@dataclass
class Items:
    """Of a dict, a list, a deque or a set; of an object's attributes, which are a dict."""

    holder: Any

    def get(self) -> Any:
        return dict(self.holder) if isinstance(self.holder, MAPPINGS) else list(self.holder)

    def put(self, contents: Any) -> None:
        if same(self.get(), contents):
            return
        self.holder.clear()
        (self.holder.update if isinstance(self.holder, (*MAPPINGS, set)) else self.holder.extend)(contents)


@dataclass
class Cell:
    """A variable that functions share (nonlocal)."""

    holder: types.CellType

    def get(self) -> Any:
        try:
            return (self.holder.cell_contents,)
        except ValueError:
            return ()

    def put(self, contents: Any) -> None:
        if contents:
            self.holder.cell_contents = contents[0]
        elif self.get():
            del self.holder.cell_contents


@dataclass
class Names:
    """Attributes of a class or of a module, or an object's slots: those of these names."""

    holder: Any
    names: set[str]

    def get(self) -> Any:
        return {name: getattr(self.holder, name) for name in self.names if hasattr(self.holder, name)}

    def put(self, contents: Any) -> None:
        now = self.get()
        for name, value in contents.items():
            if name not in now or now[name] is not value:
                setattr(self.holder, name, value)
        for name in now.keys() - contents.keys():
            delattr(self.holder, name)


@dataclass
class Asked:
    """Something that has a way of its own to tell and take its state."""

    holder: Any
    get: Callable[[], Any]
    put: Callable[[Any], Any]


@dataclass
class Reached:
    """What a walk has found. name: of the node whose function led there."""

    places: dict[int, Place] = field(default_factory=dict)  # by the id of their holder
    modules: dict[int, tuple[torch.nn.Module, str]] = field(default_factory=dict)
    functions: dict[int, types.FunctionType] = field(default_factory=dict)  # of nodes, by their id
    of_nodes: bool = False  # whether something of a node was among it


def reached(options: Iterable[Any], objects: Iterable[Any] = ()) -> Reached:
    """From functions and objects. options: nested dicts and lists of the host's, which are no places to remember, as
    each model has its own. objects: those that are."""
    walk = _Walk()
    for root in options:
        walk.from_options(root)
    for root in objects:
        walk.from_object(root)
    return walk.found


def node_name(function: Any) -> str:
    """The name of what a node has put somewhere: its class where the function is made in a class."""
    return made_by(function).rpartition(".")[2]


def made_by(function: Any) -> str:
    """The module, and in it the class or function, that a function or an object comes from."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{_module_name(named.__module__)}.{named.__qualname__.split('.')[0]}"


@lru_cache(maxsize=4096)
def _module_name(module: str | None) -> str:
    """The host loads its extra nodes by their files' paths."""
    file = _file(module)
    if file is None or not file.is_relative_to(HOST):
        return str(module)
    return ".".join(file.relative_to(HOST).with_suffix("").parts)


class _Walk:
    def __init__(self) -> None:
        self.found, self._name = Reached(), ""
        self._seen: dict[int, Any] = {}

    def from_options(self, root: Any) -> None:
        if type(root) in (dict, list, tuple):
            for value in root.values() if isinstance(root, dict) else root:
                self.from_options(value)
        else:
            self.from_object(root)

    def from_object(self, root: Any) -> None:
        if not isinstance(root, ATOMS):
            self._name = node_name(root)
            self._all_from(root)

    def _all_from(self, value: Any) -> None:
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if isinstance(value, ATOMS) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            waiting += self._within(value)

    def _add(self, place: Place) -> None:
        self.found.places.setdefault(id(place.holder), place)

    def _within(self, value: Any) -> Iterable[Any]:
        """What this one holds; its own places are noted."""
        if isinstance(value, types.MethodType):
            return value.__func__, value.__self__
        if isinstance(value, functools.partial):
            return value.func, value.args, value.keywords
        if isinstance(value, types.FunctionType):
            return self._function(value) if not _is_ours(value.__module__) else ()
        if isinstance(value, CONTAINERS):
            self._add(Items(value))
            return list(value.values() if isinstance(value, MAPPINGS) else value)
        if isinstance(value, (tuple, frozenset)):
            return value
        if isinstance(value, torch.nn.Module):
            self.found.modules.setdefault(id(value), (value, self._name))
            self._add(Items(vars(value)))
            return ()
        if place := _with_a_way(value):
            self._add(place)
            return ()
        if isinstance(value, type):
            return self._class(value) if is_of_nodes(value.__module__) else ()
        if is_of_nodes(type(value).__module__):
            self.found.of_nodes = True
            return self._object(value)
        if type(value).__module__ in STATEFUL:
            return self._object(value)
        return ()

    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        for cell in function.__closure__ or ():
            self._add(Cell(cell))
            if contents := Cell(cell).get():
                yield contents[0]
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()
        if function.__dict__:
            yield function.__dict__
        if is_of_nodes(function.__module__):
            self.found.of_nodes = True
            self.found.functions[id(function)] = function
            yield from self._globals(function)

    def _globals(self, function: types.FunctionType) -> Iterator[Any]:
        """What a function names: where it writes to a name, and what the names stand for."""
        module, named = sys.modules.get(function.__module__), function.__globals__
        names, written = _names(function.__code__)
        if written and module is not None and vars(module) is named:
            self._add_names(module, set(written))
        for name in names:
            value = named.get(name)
            if isinstance(value, types.ModuleType) and is_of_nodes(value.__name__):
                own = {n for n in names if n in vars(value) and not _is_code(vars(value)[n])}
                self._add_names(value, own)
                yield from (vars(value)[n] for n in names if n in vars(value))
            elif not isinstance(value, types.ModuleType):
                yield value

    def _add_names(self, holder: Any, names: set[str]) -> None:
        place = self.found.places.get(id(holder))
        if isinstance(place, Names):
            place.names |= names
        elif names:
            self._add(Names(holder, names))

    def _class(self, cls: type) -> Iterator[Any]:
        """What it keeps itself, for all of its objects, and its methods."""
        own = {name for name, value in vars(cls).items() if not name.startswith("__") and not _is_code(value)}
        self._add_names(cls, own)
        for value in list(vars(cls).values()):
            yield getattr(value, "__func__", getattr(value, "fget", value))
        yield from (base for base in cls.__bases__ if base is not object)

    def _object(self, value: Any) -> Iterator[Any]:
        if hasattr(value, "__dict__"):
            self._add(Items(vars(value)))
            yield from list(vars(value).values())
        slots = {n for c in type(value).__mro__ for n in _slots(c) if not n.startswith("__")}
        if slots:
            self._add_names(value, slots)
            yield from (getattr(value, name) for name in slots if hasattr(value, name))
        yield type(value)


def _with_a_way(value: Any) -> Place | None:
    if isinstance(value, torch.Generator):
        return Asked(value, value.get_state, value.set_state)
    if isinstance(value, random.Random):
        return Asked(value, value.getstate, value.setstate)
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return Asked(value, lambda: bits.state, lambda state: setattr(bits, "state", state))
    if isinstance(value, contextvars.ContextVar):
        return Asked(value, lambda: value.get(None), value.set)
    if isinstance(value, threading.local):
        place = Items(value.__dict__)  # of this thread
        return Asked(value, place.get, place.put)
    return None


@lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The names that a function uses of its module or as attributes, and those of the module that it writes to."""
    names, written = set(code.co_names), set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            written.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, inner_written = _names(constant)
            names |= inner
            written |= inner_written
    return names, written


def _slots(cls: type) -> Iterable[str]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _is_code(value: Any) -> bool:
    """Whether this is what a module or a class defines, and no state of its own."""
    kinds = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type, property, staticmethod, classmethod)
    return isinstance(value, kinds) or hasattr(type(value), "__get__")


def _is_ours(module: str | None) -> bool:
    return bool(OWN) and (module == OWN or str(module).startswith(OWN + "."))


@lru_cache(maxsize=4096)
def is_of_nodes(module: str | None) -> bool:
    """Whether a module is one of a node pack or of the host's extra nodes: no library, not the host, not this pack."""
    if not module or _is_ours(module) or module.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = _file(module)
    if file is None or LIBRARIES & set(file.parts):
        return False
    return not file.is_relative_to(HOST) or any(file.is_relative_to(folder) for folder in EXTRAS)


def _file(module: str | None) -> Path | None:
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    return Path(file) if file else None
