"""PEFT's configuration of an adapter: beside the file, or in its header. It holds the scale of the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import SchemaError, SchemaValidator, core_schema, from_json

from .files import one_line

MOST_PATTERNS, LONGEST = 10_000, 1_000  # an alpha_pattern has at most a layer's name for each layer
MOST_REPEATED = 100  # times that a pattern's counts may repeat a part: a short one can stand for millions of letters
CONFIG, METADATA = "adapter_config.json", "lora_adapter_metadata"
# The header's keys that hold a whole configuration as JSON: diffusers' own, and what its training scripts collect.
NESTED = (METADATA, f"unet_{METADATA}", f"transformer_{METADATA}", "adapter_config", "peft_config", "lora_config")
PREFIXES = ("", "transformer.", "unet.", "base_model.model.")
# They take the adapter's first values off the model's weights: what the file adds is for those, not for the model's.
OFF_THE_WEIGHTS = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "loftq": "LoftQ", "lora_ga": "LoRA-GA"}
# Forms of LoRA whose factors do other things than B A, by the field that says so.
VARIANTS = {
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "alora_invocation_tokens": "aLoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}

Alpha = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Rank = Annotated[int, Field(strict=True, gt=0)]
Matcher = Callable[[str], bool]


@lru_cache(maxsize=MOST_PATTERNS)  # asked to check a pattern, and again to use it
def _matcher(pattern: str) -> Matcher:
    """Whether a pattern fits a layer's name, as PEFT reads one: a regular expression that ends the name.

    Pydantic's are those of Rust, which take time in proportion to the text, whatever the pattern; Python's may take
    for ever. They lack what looks around. Raises ValueError for a pattern that is none.
    """
    counts = re.findall(r"\{(\d*),?(\d*)\}", pattern)
    if (
        any(len(most) > 3 for count in counts for most in count)
        or math.prod(max(int(least or 1), int(most or 1)) for least, most in counts) > MOST_REPEATED
    ):
        raise ValueError("it repeats a part too often")
    try:
        name = SchemaValidator(core_schema.str_schema(pattern=rf"^(?:.*\.)?(?:{pattern})$"))
    except SchemaError as error:
        raise ValueError(str(error).strip().splitlines()[-1].removeprefix("error: ").rstrip(".")) from None
    return name.isinstance_python


def _spelt(name: str, *others: str) -> Any:
    """A field as PEFT writes it, and as diffusers does in a file's metadata: with the module's name in front."""
    return Field(None, validation_alias=AliasChoices(*(prefix + n for n in (name, *others) for prefix in PREFIXES)))


def _checked(pattern: str) -> str:
    _matcher(pattern)
    return pattern


Pattern = Annotated[str, Field(max_length=LONGEST), AfterValidator(_checked)]


class PeftConfig(BaseModel):
    """What PEFT's configuration says of how a file's weights are meant."""

    model_config = ConfigDict(strict=True)

    peft_type: str | None = _spelt("peft_type")
    r: Rank | None = _spelt("r")
    lora_alpha: Alpha | None = _spelt("lora_alpha", "alpha")  # LoHa's and LoKr's is called alpha
    rank_pattern: Annotated[dict[Pattern, Any], Field(max_length=MOST_PATTERNS)] | None = _spelt("rank_pattern")
    alpha_pattern: Annotated[dict[Pattern, Alpha], Field(max_length=MOST_PATTERNS)] | None = _spelt("alpha_pattern")
    use_rslora: bool | None = _spelt("use_rslora")  # the scale is α/√r instead of α/r
    target_modules: str | list[str] | None = _spelt("target_modules")
    init_lora_weights: bool | str | None = _spelt("init_lora_weights")

    use_qalora: Any = _spelt("use_qalora")
    use_bdlora: Any = _spelt("use_bdlora")
    alora_invocation_tokens: Any = _spelt("alora_invocation_tokens")
    arrow_config: Any = _spelt("arrow_config")
    kasa_config: Any = _spelt("kasa_config")
    monteclora_config: Any = _spelt("monteclora_config")

    @property
    def variant(self) -> str:
        """The name of a form of LoRA that is none; else ""."""
        return next((name for field, name in VARIANTS.items() if getattr(self, field)), "")

    @cached_property
    def _alphas(self) -> list[tuple[Matcher, float]]:
        return [(_matcher(pattern), alpha) for pattern, alpha in (self.alpha_pattern or {}).items()]

    @cached_property
    def _ranks(self) -> list[tuple[Matcher, int]]:
        # AdaLoRA's has a list of booleans for each layer: which of its ranks are kept.
        ranks = {k: sum(v) if isinstance(v, list) else v for k, v in (self.rank_pattern or {}).items()}
        return [(_matcher(pattern), rank) for pattern, rank in ranks.items() if type(rank) is int and rank > 0]

    @cached_property
    def _targets(self) -> Matcher:
        target = self.target_modules
        if isinstance(target, list):
            ends = tuple(f".{name}" for name in target)
            return lambda layer: layer in target or layer.endswith(ends)
        if target is None or target == "all-linear":
            return lambda layer: True
        try:  # of the whole name
            return SchemaValidator(core_schema.str_schema(pattern=rf"^(?:{target[:LONGEST]})$")).isinstance_python
        except SchemaError:  # it looks around, or is none: it says nothing of the scale
            return lambda layer: True

    @property
    def taken_off(self) -> str:
        """The way that it was started, where that changes the model's own weights; else ""."""
        start = self.init_lora_weights if isinstance(self.init_lora_weights, str) else ""
        return next((name for way, name in OFF_THE_WEIGHTS.items() if start.lower().startswith(way)), "")

    def rank(self, layer: str) -> int | None:
        """As the configuration has it: that of the first pattern that fits, else `r`."""
        return next((rank for fits, rank in self._ranks if fits(layer)), self.r)

    def alpha(self, layer: str) -> float:
        """The layer's α: that of the first pattern that fits, else `lora_alpha`."""
        found = (alpha for fits, alpha in self._alphas if fits(layer))
        return next(found, self.lora_alpha or 0.0)

    def scale(self, layer: str, rank: int) -> float:
        """What ΔW is multiplied with. rank: of the file's factors."""
        return self.alpha(layer) / (rank**0.5 if self.use_rslora else rank)

    def misfit(self, ranks: Mapping[str, int | None]) -> str:
        """Why the configuration is not that of a file: "" where it is. ranks: of its layers, None where not known."""
        for layer, rank in ranks.items():
            if not self._targets(layer):
                return f"it is for no layer {layer}"
            said = self.rank(layer)
            if rank is not None and said is not None and rank != said:
                return f"its r is {said}, the file's {rank}"
        return ""


def header_config(path: Path, metadata: Mapping[str, str]) -> PeftConfig | None:
    """From the header of a file: JSON under one key, or each value under a key of its own.

    None where it does not say the scale. Raises ValueError, in one sentence, where it cannot be read.
    """
    for name in NESTED:
        if name in metadata and metadata[name].lstrip()[:1] not in ("", "n"):  # nothing, null
            found = _validated(metadata[name], f"{name}, in the metadata of “{path.name}”,")
            if found is not None:
                return found
    names = ("r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights")
    spelt = {prefix + name for name in names for prefix in PREFIXES} & metadata.keys()
    flat = {name: _value(metadata[name]) for name in spelt}
    if not any(name.endswith("lora_alpha") for name in flat):  # an “alpha” alone may be anything's
        flat = {name: value for name, value in flat.items() if any(n.rpartition(".")[2] == "r" for n in flat)}
    return _validated(flat, f"the metadata of “{path.name}”") if flat else None


def config_beside(path: Path) -> PeftConfig | None:
    """From `adapter_config.json` in a file's folder, whosever it is. None and errors as in `header_config`."""
    try:
        text = path.with_name(CONFIG).read_bytes()
    except OSError:
        return None
    return _validated(text, f"{CONFIG}, beside “{path.name}”,")


def _value(text: str) -> Any:
    """Of the header, whose values are texts: as JSON, or as Python writes what JSON has too."""
    for written in (text, text.replace("'", '"'), text.lower().replace("none", "null")):
        try:
            return from_json(written)
        except ValueError:
            continue
    return text


def _validated(text: str | bytes | dict[str, Any], what: str) -> PeftConfig | None:
    try:
        read = PeftConfig.model_validate if isinstance(text, dict) else PeftConfig.model_validate_json
        config = read(text)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name, *rest = [*wrong["loc"], ""]
        place = f"{name} “{one_line(rest[0], 40)}”: " if name and rest[0] else f"{name}: " if name else ""
        reason = place + wrong["msg"].removeprefix("Value error, ")
        raise ValueError(
            f"{what} cannot be read ({one_line(reason)}), so that the LoRA's scale is not known: mend it, or take "
            "it away, and alpha = rank is assumed."
        ) from None
    return config if config.lora_alpha is not None else None
