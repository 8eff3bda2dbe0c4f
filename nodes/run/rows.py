"""Conditionings that hold a row for each element of a batch, where a model is asked for some of its elements only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.conds
from torch import Tensor

BATCHED = ("cross_attn", "pooled_output", "concat_latent_image", "concat_mask", "mask")  # of a conditioning, by picture


def hold_rows(conds: Iterable[dict[str, Any]]) -> bool:
    """Whether one of these has another content for each picture of a batch, by the picture's place in it."""
    return any(rows > 1 for rows in row_counts(conds))


def row_counts(conds: Iterable[dict[str, Any]]) -> set[int]:
    """For how many pictures of a batch these have contents of their own, which the host deals out in turn."""
    values = (value for cond in conds for value in (*map(cond.get, BATCHED), *_hints(cond.get("control"))))
    return {len(value) for value in values if isinstance(value, Tensor)}


def _hints(control: Any) -> Iterator[Any]:
    """The pictures of a chain of ControlNets."""
    while control is not None:
        yield getattr(control, "cond_hint_original", None)
        control = getattr(control, "previous_controlnet", None)


@contextmanager
def asked_for(guider: Any, elements: Tensor | None) -> Iterator[None]:
    """While the guider is asked for these elements of its batch, None for all of it.

    The host deals a conditioning's rows out in turn to whatever it is asked for, so that the third element alone would
    get the first row.
    """
    conds = guider.conds
    if elements is not None:
        guider.conds = {key: cond and [_of(one, elements) for one in cond] for key, cond in conds.items()}
    try:
        yield
    finally:
        guider.conds = conds


def _of(cond: dict[str, Any], elements: Tensor) -> dict[str, Any]:
    """cond: as the host has processed it for the whole batch."""
    own = {name: _own(value, elements) for name, value in cond["model_conds"].items()}
    mask = cond.get("mask")
    return {**cond, "model_conds": own} | ({} if mask is None else {"mask": _rows(mask, elements)})


def _own(value: Any, elements: Tensor) -> Any:
    if isinstance(value, comfy.conds.CONDConstant):
        return value
    if isinstance(value, comfy.conds.CONDRegular):
        given = value.cond
        rows = [_rows(one, elements) for one in given] if isinstance(given, list) else _rows(given, elements)
        return value._copy_with(rows)
    return value


def _rows(values: Any, elements: Tensor) -> Any:
    """values: (rows, …). Element e has row e, or where there are fewer, e modulo the rows."""
    if not isinstance(values, Tensor) or values.ndim == 0 or len(values) == 1:
        return values
    return values[elements.to(values.device) % len(values)]
