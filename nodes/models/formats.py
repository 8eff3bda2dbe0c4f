"""The kinds of anchor files: how each is recognised, and how it is loaded or why it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy.model_patcher import ModelPatcher

from .account import Account
from .factors import ODD_PART, BrokenLoraError
from .files import read_file
from .finite import not_finite
from .forward_lora import with_lora
from .full_model import PREFIX, load_model
from .layouts import Contents, StateDict, is_adapter
from .lora import MAGNITUDE, match_lora, read_adapter
from .machine import check_machine
from .pair import architecture, check_pair
from .scale import OtherLoraError, with_scale

ADAPTER, MODEL, EMA = "LoRA or another adapter", "full model", "EMA weights alone"


@dataclass(frozen=True)
class File:
    path: Path
    state_dict: StateDict
    metadata: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Loaded:
    """kind: of the table below. patcher: the anchor as a MODEL. account: what became of each key of the file."""

    kind: str
    patcher: ModelPatcher
    account: Account


@dataclass(frozen=True)
class Format:
    """load: reference, file, strength; raises ValueError in one sentence."""

    kind: str
    recognise: Callable[[File], bool]
    load: Callable[[ModelPatcher, File, float], tuple[ModelPatcher, Account]]


def open_anchor(path: Path) -> File:
    """Raises ValueError, in one sentence, for a file that cannot be read."""
    return File(path, *read_file(path))


def load_anchor(reference: ModelPatcher, file: File, strength: float) -> Loaded:
    """By the first of the formats that the file is of. strength: of an adapter; 1 as trained.

    Raises ValueError, in one sentence, for a file that cannot be an anchor of the reference.
    """
    found = next(one for one in FORMATS if one.recognise(file))
    return Loaded(found.kind, *found.load(reference, file, strength))


def _load_adapter(reference: ModelPatcher, file: File, strength: float) -> tuple[ModelPatcher, Account]:
    return adapter_clone(reference, file.state_dict, strength, file.name, file)


def adapter_clone(
    reference: ModelPatcher, state_dict: StateDict, strength: float, name: str, file: File | None = None
) -> tuple[ModelPatcher, Account]:
    """A clone of the reference with the adapter on it. Shares the reference's weights.

    file: where the scale may be said, beside it or in its header. Raises ValueError for an adapter that fits no layer
    of the reference, that is not whole, that holds NaN or infinity, or of a kind that cannot be applied.
    """
    if not_finite(state_dict.items()):
        raise ValueError(f"The LoRA “{name}” holds values that are not finite numbers (NaN or infinity): it is broken.")
    try:
        found = read_adapter(state_dict)
        _check_kinds(found, name)
        notes = with_scale(found, file.path, file.metadata) if file else ()
        if any(MAGNITUDE in layer.parts for layer in found.layers.values()):
            notes += ("DoRA: its magnitudes are applied as PEFT defines them",)
        matched = match_lora(reference, found, notes)
    except BrokenLoraError as error:
        raise ValueError(_broken(name, str(error))) from error
    except OtherLoraError as error:
        raise ValueError(f"The LoRA “{name}” {error}") from error
    except (TypeError, AttributeError, LookupError, RuntimeError) as error:
        check_machine(error, f"The LoRA “{name}” cannot be loaded")
        raise ValueError(_broken(name, ODD_PART)) from error
    if not matched.patches:
        raise ValueError(
            f"The LoRA “{name}” fits no layer of the reference ({architecture(reference)}): it was "
            "made for another architecture. Choose a LoRA for this model, or the model this LoRA is for."
        )
    return with_lora(reference, matched.patches, strength), matched.account


def _broken(name: str, why: str) -> str:
    return f"The LoRA “{name}” is broken: {why}. Download it again, or choose another."


def _check_kinds(found: Contents, name: str) -> None:
    if found.refused:
        kind, key = next(iter(found.refused.items()))
        raise ValueError(
            f"“{name}” is an adapter of the kind {kind} ({key}), which ComfyUI cannot apply: merge it into the model "
            "with the library that trained it, and load the merged model here."
        )
    if found.text_encoder and not found.layers:
        raise ValueError(
            f"The LoRA “{name}” is for the text encoder alone, and has nothing for the diffusion model that an anchor "
            "is: put it on the CLIP with “Load LoRA (Model and CLIP)”, and choose another anchor."
        )


def _load_full(reference: ModelPatcher, file: File, _: float) -> tuple[ModelPatcher, Account]:
    """In the reference's number format: it takes no more memory, and the two differ by training alone."""
    patcher, account = load_model(file.path, file.state_dict, file.metadata, reference.model.get_dtype())
    check_pair(reference, patcher, file.name)
    return patcher, account


def _is_ema_alone(file: File) -> bool:
    keys = file.state_dict
    return any(key.startswith("model_ema.") for key in keys) and not any(key.startswith(PREFIX) for key in keys)


def _refuse_ema(_: ModelPatcher, file: File, *__: object) -> tuple[ModelPatcher, Account]:
    raise ValueError(
        f"“{file.name}” holds a model's EMA weights alone (model_ema.…), which ComfyUI does not load: take the version "
        "of it that has the model's own weights (model.diffusion_model.…), or one that is saved as a diffusion model."
    )


FORMATS: Sequence[Format] = (
    Format(EMA, _is_ema_alone, _refuse_ema),
    Format(ADAPTER, lambda file: is_adapter(file.state_dict), _load_adapter),
    Format(MODEL, lambda file: True, _load_full),
)
