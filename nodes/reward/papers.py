"""Rewards of the papers, through imscore where a user has it: HPS v2.1, ImageReward, CycleReward, MPS, VQAScore."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange

from ..models.files import one_line, read_file
from ..models.finite import not_finite
from ..models.gradients import plain
from . import paper_networks as networks
from .files import FOLDER
from .installed import Package
from .paper_networks import Import, Network, Weights

AUTO = "auto"
WEIGHTS, VOCABULARY = "model.safetensors", "vocab.txt"
BERT = ("google-bert/bert-base-uncased", "bert-base-uncased")  # one on huggingface.co, by its newer and its older name
IMSCORE = Package(
    {"imscore": "imscore", "open_clip": "open-clip-torch", "timm": "timm", "ftfy": "ftfy", "wcwidth": "wcwidth"}
)


@dataclass(frozen=True)
class Paper:
    """build: its network, from a file's weights and the folder of its vocabulary. repository: on huggingface.co."""

    build: Callable[[Weights, Path | None, Import], Network]
    repository: str
    half: torch.dtype = torch.float16  # what it is asked in, where the device is made for it
    alone: bool = False  # whether imscore mixes up the pictures of a batch, so that each is asked by itself
    vocabulary: bool = False  # whether it reads words by a file of BERT's, which ComfyUI has not

    @property
    def folder(self) -> str:
        return self.repository.partition("/")[2]


PAPERS = {
    "HPS v2.1": Paper(networks.hps, "RE-N-Y/hpsv21"),
    "ImageReward": Paper(networks.image_reward, "RE-N-Y/ImageReward", vocabulary=True),
    "CycleReward": Paper(networks.cycle_reward, "NagaSaiAbhinay/CycleReward-Combo", vocabulary=True),
    "MPS": Paper(networks.mps, "RE-N-Y/mpsv1", alone=True),
    # T5 overflows in fp16.
    "VQAScore": Paper(networks.vqa_score, "RE-N-Y/clip-t5-xxl", half=torch.bfloat16, alone=True),
}


@dataclass(frozen=True)
class PaperReward:
    """What imscore's `score` gives for a picture and its prompt."""

    name: str
    patcher: ModelPatcher
    network: Network
    alone: bool
    prompt: str = ""  # in place of the prompts that `score` gets, where it is not empty
    differentiable: bool = True
    warned: set[str] = field(default_factory=set)  # prompts that are longer than what counts

    @property
    def needs_prompt(self) -> bool:
        return not self.prompt.strip()

    @property
    def models(self) -> tuple[ModelPatcher, ...]:
        return (self.patcher,)

    def score(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        texts = list(prompts) if self.needs_prompt else [self.prompt] * len(images)
        self._warn(texts)
        pixels = rearrange(images.to(self.patcher.load_device, torch.float32), "b h w c -> b c h w")
        size = 1 if self.alone else len(images)
        with plain([self.patcher]):
            out = [
                self.network.module.score(pixels[i : i + size], texts[i : i + size]).reshape(size)
                for i in range(0, len(images), size)
            ]
        return torch.cat(out).to(images.device)

    def _warn(self, texts: Sequence[str]) -> None:
        for text in set(texts) - self.warned:
            self.warned.add(text)
            if self.network.tokens(text) > self.network.length:
                length = self.network.length
                logging.warning("Realign reward “%s”: only the first %d tokens of the prompt count", self.name, length)


class WholeModel(ModelPatcher):
    """Of layers that are not the host's: all of it is on the device, or nothing."""

    def load(self, device_to: torch.device | None = None, *args: Any, **options: Any) -> None:
        super().load(device_to, full_load=True)

    def partially_unload(self, *args: Any, **options: Any) -> int:
        return 0


def load_paper(kind: str, choice: str, prompt: str) -> PaperReward:
    """A reward of PAPERS from a file that is on this machine. choice: "folder/name", or AUTO for its usual place.

    Raises ValueError, in one sentence, for a package or a file that is missing, and for weights of something else.
    """
    paper = PAPERS[kind]
    IMSCORE.check()
    path = find_weights(kind, choice)
    vocabulary = find_vocabulary(kind, path) if paper.vocabulary else None
    weights, _ = read_file(path)
    bad = not_finite(weights.items())
    if bad:
        raise ValueError(
            f"“{path.name}” is damaged: its weight {bad} is not finite (NaN or infinity). Download it again."
        )
    device, home = comfy.model_management.text_encoder_device(), comfy.model_management.text_encoder_offload_device()
    network = _filled(kind, path, weights, vocabulary, _dtype(paper, device))
    return PaperReward(kind, WholeModel(network.module, device, home), network, paper.alone, prompt)


def find_weights(kind: str, choice: str) -> Path:
    """Where a reward's weights lie: in the host's folder, else where Hugging Face's library keeps what it has brought.

    Raises ValueError, which says where the file should be, and where it can be had.
    """
    paper = PAPERS[kind]
    names = [f"{paper.folder}/{WEIGHTS}"]
    if choice != AUTO:
        folder, _, name = choice.partition("/")
        names = [name, choice] if folder == FOLDER and name and "\0" not in name else []
    found = next(filter(None, (folder_paths.get_full_path(FOLDER, name) for name in names)), None)
    if found is None and choice == AUTO:
        found = _kept(paper.repository, WEIGHTS)
    if found is None:
        here = Path(folder_paths.get_folder_paths(FOLDER)[0]) / paper.folder
        what = "There are no weights of" if choice == AUTO else f"There is no reward model “{one_line(choice)}” for"
        raise ValueError(
            f"{what} {kind} on this machine: download {WEIGHTS} of {paper.repository} on huggingface.co into {here}, "
            "and press R to refresh."
        )
    return Path(found)


def find_vocabulary(kind: str, weights: Path) -> Path:
    """The folder of BERT's list of words: beside the weights, else where Hugging Face's library keeps it."""
    beside = weights.parent / VOCABULARY
    kept = None if beside.is_file() else next(filter(None, (_kept(name, VOCABULARY) for name in BERT)), None)
    if kept is None and not beside.is_file():
        raise ValueError(
            f"{kind} reads its prompt by a list of words, which is not on this machine: download {VOCABULARY} of "
            f"{BERT[0]} on huggingface.co into {weights.parent}."
        )
    return Path(kept).parent if kept else weights.parent


def _kept(repository: str, name: str) -> str | None:
    """A file that Hugging Face's library has brought before; nothing is brought."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(repository, name)
    return found if isinstance(found, str) else None


def _dtype(paper: Paper, device: torch.device) -> torch.dtype:
    host = comfy.model_management
    makes = host.should_use_bf16 if paper.half == torch.bfloat16 else host.should_use_fp16
    return paper.half if makes(device) else torch.float32


def _filled(kind: str, path: Path, weights: Weights, vocabulary: Path | None, dtype: torch.dtype) -> Network:
    """The network with the file's weights, all of them. Raises ValueError where it is a file of something else."""
    repository = PAPERS[kind].repository
    try:
        with networks.unfilled(dtype):
            network = PAPERS[kind].build(weights, vocabulary, IMSCORE.module)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(_not_it(kind, path, "", repository)) from error
    module = network.module.to(dtype).eval().requires_grad_(False)  # what is no weight is of it as well
    wanted, given = module.state_dict(), networks.named_as(module, weights)
    lacking = [key for key, one in wanted.items() if key not in given or given[key].shape != one.shape]
    if lacking:
        more = f", or not all of one ({len(lacking)} weights lack or do not fit, {lacking[0]} for one)"
        raise ValueError(_not_it(kind, path, more, repository))
    module.load_state_dict({key: given[key] for key in wanted})
    return network


def _not_it(kind: str, path: Path, more: str, repository: str) -> str:
    return f"“{path.name}” in {path.parent.name} is no {kind}{more}: take {WEIGHTS} of {repository} on huggingface.co."
