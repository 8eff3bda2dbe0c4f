"""The rounds of a search for the best λ: their pictures, traces and what the rewards give; kept under a name.

`<name>.json` in the host's output folder (realign/searches) tells the search, for people too; `<name>.safetensors`
holds its latents and traces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import folder_paths
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...realign_core import MOST_CELLS, Seen, Trace
from ..models.whole_files import replaced
from .session import check_name

Lambda = Annotated[float, Field(ge=-10, le=10)]
Values = list[FiniteFloat | None]


@dataclass(frozen=True, eq=False)
class Round:
    """Pictures of some λ, R rows × C λ, in a sweep's order: row by row, each from the first λ to the last."""

    lambdas: tuple[float, ...]  # C
    latents: torch.Tensor  # (R · C, channels, …), on the CPU
    trace: Trace
    numbers: torch.Tensor  # (R · C, N), fp64: the reward, KL to the reference, and the second reward; NaN: not known

    @property
    def rows(self) -> int:
        return len(self.latents) // len(self.lambdas)

    def column(self, place: int) -> torch.Tensor:
        """(R, N), of one λ."""
        return self.numbers[place :: len(self.lambdas)]


def seen_of(rounds: Sequence[Round], columns: Sequence[int]) -> Seen:
    """What a search has seen. columns: of the numbers, the reward's first."""
    seen = Seen.none(len(columns) - 1)
    for one in rounds:
        for place, value in enumerate(one.lambdas):
            seen = seen.add(value, range(one.rows), one.column(place)[:, list(columns)])
    return seen


def in_order(rounds: Sequence[Round]) -> tuple[tuple[float, ...], torch.Tensor, Trace]:
    """All rounds as one sweep: its λ, rising, its latents and its trace, which tells no sweep yet."""
    values = sorted(value for one in rounds for value in one.lambdas)
    rows, parts, latents = rounds[0].rows, [], None
    for one in rounds:
        columns = [values.index(value) for value in one.lambdas]
        places = [row * len(values) + column for row in range(rows) for column in columns]
        if latents is None:
            latents = one.latents.new_zeros((rows * len(values), *one.latents.shape[1:]))
        latents[places] = one.latents
        parts.append((places, one.trace))
    assert latents is not None
    return tuple(values), latents, Trace.join(parts)


class _Round(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lambdas: Annotated[list[Lambda], Field(min_length=1, max_length=MOST_CELLS)]
    numbers: Annotated[list[Values], Field(min_length=1, max_length=MOST_CELLS)]
    sigmas: list[FiniteFloat]
    calls: list[FiniteFloat]
    saved: list[FiniteFloat]
    correction: Values
    info: dict[str, Any]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    of: str  # what decides the pictures and their numbers, as a hash
    told: Any = None  # the search's report, for people
    rounds: list[_Round]


def opened(name: str, of: str, rows: int) -> list[Round]:
    """The rounds that were saved; none where none were.

    Raises ValueError for a name that is no file's, for files that cannot be read, and for a search of other pictures.
    """
    path = _path(check_name(name), ".json")
    if not path.exists():
        return []
    try:
        told = _File.model_validate_json(path.read_bytes())
        tensors = load_file(_path(check_name(name), ".safetensors"))
        rounds = [_round(one, place, tensors) for place, one in enumerate(told.rounds)]
    except (OSError, ValidationError, RecursionError, SafetensorError, KeyError) as error:
        raise ValueError(
            f"The search in {path} cannot be read: it is damaged, or of another version. Move it away with the other "
            "file of that name, or type another name to start anew."
        ) from error
    if told.of != of or any(one.rows != rows for one in rounds):
        raise ValueError(
            f"The search “{check_name(name)}” was made with other models, prompts, rewards or settings than these, so "
            "that its pictures would not belong to it: set them as they were, or type another name to start anew."
        )
    return rounds


def save(name: str, of: str, rounds: Sequence[Round], told: Any) -> Path:
    """Both files, each in one move, the pictures first; the path of the one to read. Raises ValueError where that
    fails."""
    path, tensors, listed = _path(check_name(name), ".json"), {}, []
    for place, one in enumerate(rounds):
        trace = one.trace
        own = {"latents": one.latents, "lambdas": trace.lambdas, "kl": trace.kl, "before_mask": trace.before_mask}
        tensors |= {f"{place}.{key}": value.contiguous().clone() for key, value in own.items() if value is not None}
        numbers = [[value if value == value else None for value in row] for row in one.numbers.tolist()]
        kept = {"sigmas": trace.sigmas, "calls": trace.calls, "saved": trace.saved, "correction": trace.correction}
        listed.append(_Round(lambdas=one.lambdas, numbers=numbers, info=trace.info, **kept))
    file = _File(format=1, of=of, told=told, rounds=listed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path.with_suffix(".safetensors"), lambda new: save_file(tensors, new))
        text = json.dumps(file.model_dump(), ensure_ascii=False, indent=1)
        replaced(path, lambda new: new.write_text(text, encoding="utf-8"))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"The search “{name}” could not be saved in {path.parent}: {error}.") from error
    return path


def _round(told: _Round, place: int, tensors: dict[str, torch.Tensor]) -> Round:
    """Raises KeyError where its tensors are not there, or are of other pictures."""
    latents, lambdas, kl = (tensors[f"{place}.{key}"] for key in ("latents", "lambdas", "kl"))
    numbers = torch.tensor([[torch.nan if value is None else value for value in row] for row in told.numbers])
    count, steps = len(latents), len(told.sigmas) - 1
    fits = lambdas.shape == (steps, lambdas.shape[1], count) and kl.shape == (steps, lambdas.shape[1] + 1, count)
    if len(numbers) != count or count % len(told.lambdas) or not fits or len(told.calls) != steps:
        raise KeyError(place)
    before = tensors.get(f"{place}.before_mask")
    trace = Trace(told.sigmas, lambdas, kl, told.calls, told.saved, told.correction, before, told.info)
    return Round(tuple(told.lambdas), latents, trace, numbers.double())


def _path(name: str, ending: str) -> Path:
    return Path(folder_paths.get_output_directory()) / "realign" / "searches" / (name + ending)
