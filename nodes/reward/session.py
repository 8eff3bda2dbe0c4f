"""A taste that is learned over many runs, kept in the host's user folder: what was seen, and what of it was picked.

`<name>.json` tells the rounds, for people too; `<name>.safetensors` holds the features of their pictures, by the
round's run. The pictures themselves are not kept, and nothing is sent anywhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal

import folder_paths
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...realign_core import Picks
from ..models.whole_files import replaced
from .picks import MOST_PICTURES, Picked, Place, RunId

NAME = re.compile(r"\w(?:[\w .\-]{0,62}[\w\-])?")
WAITING = 32  # rounds that may wait to be picked from: nobody goes further back
LEARNED = 1024  # pictures that are learned from, the newest: more take long, and tastes change


class _Round(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: RunId
    time: FiniteFloat
    pictures: Annotated[int, Field(ge=1, le=MOST_PICTURES)]
    picked: list[Place] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    features: str
    rounds: list[_Round]


@dataclass(frozen=True)
class Round:
    """Pictures that were seen together. features: (B, D). picked: places of the better ones."""

    run: str
    features: torch.Tensor = field(compare=False)
    picked: tuple[int, ...] = ()
    time: float = 0.0


@dataclass(frozen=True)
class Session:
    """features: the name of the numbers that its pictures are known by (features.py)."""

    name: str
    features: str
    rounds: tuple[Round, ...] = ()

    @classmethod
    def open(cls, name: str, features: str) -> Session:
        """As it was saved; an empty one where none was.

        Raises ValueError for a name that is no file's, for files that cannot be read, and where these pictures were
        seen by other features.
        """
        named = check_name(name)
        told = _index(named)
        if told is None:
            return cls(named, features)
        if told.features != features:
            raise ValueError(
                f"The preference “{named}” was learned by “{told.features}”, and now it would be asked by "
                f"“{features}”: connect that clip_vision (or none, for colours and shapes), or type another "
                "name to start anew."
            )
        known = _features(named)
        seen = [(one, known[one.run]) for one in told.rounds if one.run in known]
        fits = [(one, own) for one, own in seen if own.ndim == 2 and len(own) == one.pictures and own.isfinite().all()]
        made = (Round(one.run, own, tuple(one.picked), one.time) for one, own in fits)
        return cls(named, features, tuple(made))

    def saw(self, run: str, features: torch.Tensor) -> Session:
        """With another round, unless it is there already. features: (B, D)."""
        if any(one.run == run for one in self.rounds):
            return self
        new = Round(run, features.detach().float().cpu().clone(), time=time.time())
        waiting = [one.run for one in self.rounds if not one.picked]
        dropped = set(waiting[: max(0, len(waiting) + 1 - WAITING)])
        return replace(self, rounds=(*(one for one in self.rounds if one.run not in dropped), new))

    def picked(self, picks: Mapping[str, Picked]) -> Session:
        """With these picks in place of what was picked from the same runs. Runs that it has not seen are left out."""
        before = {one.run: one.picked for one in self.rounds}
        now = _with(before, picks)
        rounds = (replace(one, picked=tuple(i for i in now[one.run] if i < len(one.features))) for one in self.rounds)
        return replace(self, rounds=tuple(rounds))

    @property
    def picks(self) -> Picks:
        """Of all rounds from which something was picked; the newest, where they are many."""
        rounds: list[Round] = []
        for one in reversed([one for one in self.rounds if one.picked]):
            if rounds and sum(len(other.features) for other in rounds) + len(one.features) > LEARNED:
                break
            rounds.insert(0, one)
        out = Picks.none(rounds[0].features.shape[1] if rounds else 1)
        for one in rounds:
            out = out.add(one.features, torch.isin(torch.arange(len(one.features)), torch.tensor(one.picked)))
        return out

    def save(self) -> None:
        """Both files, each in one move, the features first. Raises ValueError where they cannot be written."""
        rounds = [
            _Round(run=one.run, time=one.time, pictures=len(one.features), picked=one.picked) for one in self.rounds
        ]
        told = _File(format=1, features=self.features, rounds=rounds)
        try:
            _folder().mkdir(parents=True, exist_ok=True)
            known = {one.run: one.features.contiguous() for one in self.rounds}
            replaced(_path(self.name, ".safetensors"), lambda path: save_file(known, path))
            text = told.model_dump_json(indent=1)
            replaced(_path(self.name, ".json"), lambda path: path.write_text(text, encoding="utf-8"))
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"The preference “{self.name}” could not be saved in {_folder()}: {error}. What was saved before is "
                "still there."
            ) from error


def changed(name: str, features: str, change: Callable[[Session], Session]) -> Session:
    """The session, opened, changed, and saved where that has changed it. Raises ValueError as these do."""
    before = Session.open(name, features)
    after = change(before)
    if after != before:
        after.save()
    return after


def picked_so_far(name: str, picks: Mapping[str, Picked]) -> dict[str, tuple[int, ...]]:
    """The stars of each round that has some, as they would be with these. Raises ValueError as `Session.open` does."""
    told = _index(check_name(name))
    stored = {one.run: tuple(sorted(set(one.picked))) for one in told.rounds} if told else {}
    return {run: places for run, places in _with(stored, picks).items() if places}


def _with(stored: Mapping[str, tuple[int, ...]], picks: Mapping[str, Picked]) -> dict[str, tuple[int, ...]]:
    """By run: what was told now, else what was stored. Runs that are not stored are left out."""
    own = {run: tuple(sorted(set(told.picked))) for run, told in picks.items()}
    return {run: own.get(run, places) for run, places in stored.items()}


def check_name(name: str) -> str:
    """The name of a session, as its files have it. Raises ValueError in a sentence."""
    named = " ".join(name.split())
    if not NAME.fullmatch(named) or PureWindowsPath(named).is_reserved():
        raise ValueError(
            f"“name” is “{named[:40]}”, but must be one for a file: letters, digits, spaces, “-”, “_” and “.”, at most "
            "64 of them, and a letter or digit first."
        )
    return named


def _folder() -> Path:
    return Path(folder_paths.get_user_directory()) / "realign" / "preferences"


def _path(name: str, ending: str) -> Path:
    return _folder() / (name + ending)


def _index(name: str) -> _File | None:
    """What the session's file tells; None where there is no session yet."""
    path = _path(name, ".json")
    try:
        return _File.model_validate_json(path.read_bytes()) if path.exists() else None
    except (OSError, ValidationError, RecursionError) as error:
        raise _damaged(path) from error


def _features(name: str) -> dict[str, torch.Tensor]:
    """By run. A round without them, of a host that was killed between the two files, is left out."""
    path = _path(name, ".safetensors")
    try:
        return load_file(path) if path.exists() else {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"The preference in {path} cannot be read: it is damaged, or of another version. Move it away with the other "
        "file of that name, or type another name to start anew."
    )
