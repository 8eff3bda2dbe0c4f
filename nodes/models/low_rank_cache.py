"""Low-rank differences that were computed before, in the host's user folder.

A difference is found again by what tells its two models apart without a read of the anchor's weights: the anchor's
file, or its index and each shard, by its size, the time of its last change and its header; the reference, which the
host has loaded already, by its file and by a sample of its weights, since the file may be another one by now than the
model that was loaded from it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import parts_of, read_file
from .layouts import StateDict
from .low_rank import FORMAT, is_plain, weights_of
from .pair import architecture, prediction_type
from .whole_files import put

Difference = tuple[StateDict, float]  # the LoRA, and the share of the whole difference that it keeps

_ENDING = ".safetensors"
_SAFETENSORS = (_ENDING, ".sft")
_HEADER, _END = 100 << 20, 1 << 20  # bytes: the longest header of a safetensors file; read of each end of other files
_SAMPLED = 4096  # values of a cached tensor that its fingerprint holds, beside the sum of all
_RUNS, _RUN = 4, 256  # of a loaded tensor: a few pages of the file that it may be mapped from
_ABANDONED = 24 * 3600  # s after which an unfinished file was left by a process that is gone


@dataclass(frozen=True)
class DifferenceCache:
    """Where one difference lies. anchor: its file, or the index of its shards."""

    anchor: Path
    anchor_key: str
    rank: int
    stem: str

    @classmethod
    def of(cls, reference: ModelPatcher, anchor: Path, rank: int) -> DifferenceCache | None:
        """None for what has no low-rank difference (`factorise` says why), and for a file that cannot be opened."""
        weights = weights_of(reference)
        if reference.patches or not all(is_plain(v) for v in weights.values() if v.is_floating_point()):
            return None
        try:
            anchor_key = _file_key(anchor)
        except (OSError, ValueError):
            return None
        source = _source_key(reference)
        words = FORMAT, str(rank), anchor_key, _pair_key(reference), source
        model_key = _sample(weights) if source else _fingerprint(weights)
        digest = hashlib.sha256("\n".join((*words, model_key)).encode()).hexdigest()
        return cls(anchor, anchor_key, rank, f"{anchor.stem[:48]}-r{rank}-{digest[:20]}")

    @property
    def folder(self) -> Path:
        return Path(folder_paths.get_user_directory()) / "realign" / "low_rank"

    def metadata(self) -> dict[str, str]:
        """Of the anchor's file, as `read_file` has it: other files than safetensors have none."""
        out: dict[str, str] = {}
        for part in parts_of(self.anchor):
            if part.suffix.lower() in _SAFETENSORS:
                with safe_open(part, framework="pt") as file:  # reads the header alone
                    out |= file.metadata() or {}
        return out

    def read(self) -> Difference | None:
        """None where there is none, or not the one that was written."""
        for path in self._files():
            difference = _read(path)
            if difference is not None:
                return difference
            logging.warning("Realign: the cached difference %s is broken, so it is computed again", path)
        return None

    def write(self, difference: Difference) -> None:
        """The file appears whole or not at all. A disk that cannot hold it costs only the next load's time."""
        state_dict, share = difference
        metadata = {"share": repr(share), "rank": str(self.rank), "anchor": self.anchor.name}
        path = self.folder / f"{self.stem}{_ENDING}"
        part = path.with_name(f"{self.stem}-{uuid.uuid4().hex[:8]}.part")
        try:
            if _file_key(self.anchor) != self.anchor_key:
                return  # another file by now than the one that was read
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(state_dict, part, metadata=metadata | {"format": FORMAT, "content": _fingerprint(state_dict)})
            others = self._files()
            kept = _put(part, path)
            for other in others:
                if other != kept:
                    _remove(other)
        except (OSError, ValueError, SafetensorError) as error:
            logging.warning("Realign: the low-rank difference could not be kept in %s (%s)", self.folder, error)
        finally:
            _remove(part)
            self._remove_abandoned()

    def _files(self) -> list[Path]:
        """Mostly one; more where one could not be replaced because another process was reading it."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        return [self.folder / name for name in names if name.startswith(self.stem) and name.endswith(_ENDING)]

    def _remove_abandoned(self) -> None:
        with suppress(OSError):
            for path in self.folder.glob("*.part"):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    _remove(path)


def _put(part: Path, path: Path) -> Path:
    """Move a whole file to its place; beside it, under the part's name, where Windows keeps an open one from being
    replaced for longer than we wait. Returns where it is."""
    try:
        put(part, path)
        return path
    except PermissionError:
        if not path.exists():
            raise
    beside = part.with_suffix(_ENDING)
    os.replace(part, beside)
    return beside


def _remove(path: Path) -> None:
    """A file that is still open elsewhere stays until another time."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _file_key(path: Path) -> str:
    """Of a model's content, without its data. Raises OSError, and ValueError as `parts_of` does."""
    return " ".join(map(_part_key, parts_of(path)))


def _part_key(path: Path) -> str:
    """Of one file's. Raises OSError."""
    stat = path.stat()
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if path.suffix.lower() in _SAFETENSORS and length <= _HEADER:
            head = start + file.read(length)
        else:  # the list of a zip archive, with a check sum of each part, is at its end
            head = start + file.read(_END)
            file.seek(-min(_END, stat.st_size), os.SEEK_END)
            head += file.read()
    return f"{stat.st_size} {stat.st_mtime_ns} {hashlib.sha256(head).hexdigest()}"


def _source_key(patcher: ModelPatcher) -> str:
    """Of the file that the host's loaders have made this MODEL from; empty where it came from elsewhere."""
    made: Any = getattr(patcher, "cached_patcher_init", None) or (None, ())
    if made[0] in (comfy.sd.load_checkpoint_guess_config, comfy.sd.load_diffusion_model):
        with suppress(OSError, ValueError, TypeError, IndexError):
            return _file_key(Path(made[1][0]))
    return ""


def _pair_key(reference: ModelPatcher) -> str:
    """Of what has to be alike in the anchor besides the weights."""
    sigmas = getattr(reference.get_model_object("model_sampling"), "sigmas", None)
    table = hashlib.sha256(_bytes(sigmas)).hexdigest() if isinstance(sigmas, torch.Tensor) else ""
    return f"{architecture(reference)} {prediction_type(reference)} {table}"


def _sample(weights: StateDict) -> str:
    """SHA-256 of a sample of each weight of a loaded model, which tells whether it is still its file's."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key].detach()
        digest.update(f"\n{key} {tuple(value.shape)} {value.dtype} ".encode())
        flat = value.reshape(-1) if value.is_contiguous() else value[:1].reshape(-1)
        step = max(_RUN, len(flat) // _RUNS)
        for start in range(0, len(flat), step):
            digest.update(_bytes(flat[start : start + _RUN]))
    return digest.hexdigest()


def _fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of each tensor's name, shape, type, a strided sample and the sum of its bits: no rounding."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key].detach()
        digest.update(f"\n{key} {tuple(value.shape)} {value.dtype} ".encode())
        if not value.is_floating_point() or not value.numel():
            continue
        flat = value.reshape(-1)
        integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[value.dtype.itemsize]
        total = sum(int(part.view(integer).sum(dtype=torch.int64)) for part in flat.split(1 << 22))
        digest.update(f"{total} ".encode())
        digest.update(_bytes(flat[:: math.ceil(flat.numel() / _SAMPLED)]))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().reshape(-1).contiguous().cpu()
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def _read(path: Path) -> Difference | None:
    try:
        state_dict, metadata = read_file(path)
        share = float(metadata["share"])
        if metadata["format"] == FORMAT and metadata["content"] == _fingerprint(state_dict):
            return state_dict, share
    except (ValueError, KeyError, RuntimeError):
        pass
    return None
