"""Text in the picture: how much of the wanted text can be read in it, by rapidocr where a user has it.

The reward of Flow-GRPO (Liu et al. 2025, arXiv 2505.05470) for text, 1 − min(distance, length)/length of the edit
distance between what is wanted and what is read; text beside what is wanted costs nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch

from ..models.files import said
from .installed import Package
from .protocol import RewardError

RAPIDOCR = Package(
    {
        "rapidocr": "rapidocr",
        "onnxruntime": "onnxruntime",
        "cv2": "opencv-python-headless",
        "pyclipper": "pyclipper",
        "shapely": "shapely",
        "omegaconf": "omegaconf",
        "colorlog": "colorlog",
        "six": "six",
    }
)
MODELS = {"Det": "det", "Cls": "cls", "Rec": "rec"}  # rapidocr's parts, and what is in the names of their files
# In the prompt's own words: straight and curly, and those of Chinese, Japanese, French and German.
QUOTED = re.compile("|".join(f"{a}([^{a}{b}]+){b}" for a, b in ('""', "“”", "„“", "„”", "「」", "『』", "«»", "»«")))

Reader = Callable[[np.ndarray], Sequence[str]]  # (H, W, 3) of 8 bits, RGB -> the lines that are read, top to bottom


@dataclass(frozen=True)
class TextInPicture:
    """0: nothing of the text can be read; 1: all of it."""

    text: str  # where it is empty: what is in quotation marks in the prompt
    read: Reader
    name: str = "text in the picture"
    differentiable: bool = False

    @property
    def needs_prompt(self) -> bool:
        return not plain(self.text)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        texts = [self.text if plain(self.text) else quoted(prompt) for prompt in prompts]
        pixels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        values = [likeness(text, "".join(self.read(picture))) for text, picture in zip(texts, pixels)]
        return torch.tensor(values, dtype=images.dtype, device=images.device)


def likeness(wanted: str, read: str) -> float:
    """1 − min(distance, length)/length; neither spaces nor capitals count."""
    wanted, read = plain(wanted), plain(read)
    if wanted in read:
        return 1.0
    return 1 - min(distance(wanted, read), len(wanted)) / len(wanted)


def plain(text: str) -> str:
    """Without spaces and capitals, and of letters that Unicode has twice the common ones."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def quoted(prompt: str) -> str:
    """What is in quotation marks. Raises RewardError where nothing is."""
    found = "".join("".join(parts) for parts in QUOTED.findall(prompt))
    if not plain(found):
        raise RewardError(
            f"The reward “{TextInPicture.name}” looks for the words that are in quotation marks in the prompt, and "
            "there are none: put them in quotation marks, or type them into “text”."
        )
    return found


def distance(one: str, other: str) -> int:
    """Levenshtein's: how many letters must be put in, left out or exchanged."""
    before = list(range(len(other) + 1))
    for i, letter in enumerate(one):
        row = [i + 1]
        for j, its in enumerate(other):
            row.append(min(before[j] + (letter != its), before[j + 1] + 1, row[j] + 1))
        before = row
    return before[-1]


@cache
def reader() -> Reader:
    """rapidocr, on the models that are in its wheel. Raises ValueError where it is missing, too old or broken."""
    RAPIDOCR.check()
    module = RAPIDOCR.module("rapidocr")
    models = {f"{part}.model_path": str(_model(word)) for part, word in MODELS.items()}
    try:
        engine = module.RapidOCR(params={"Global.log_level": "error", **models})
    except Exception as error:  # an older interface, or a runtime that does not run
        raise RAPIDOCR.unusable(said(error)) from error

    def read(picture: np.ndarray) -> Sequence[str]:
        return engine(np.ascontiguousarray(picture[..., ::-1])).txts or ()  # it takes BGR

    return read


def _model(word: str) -> Path:
    """The file of one part in the wheel: where it is named, rapidocr brings none from the web."""
    try:
        files = distribution("rapidocr").files or []
    except PackageNotFoundError:
        files = []
    found = [file for file in files if file.suffix == ".onnx" and word in file.name]
    path = Path(str(found[0].locate())) if found else None
    if path is None or not path.is_file():
        raise RAPIDOCR.unusable(f"its model “{word}” is not there")
    return path
