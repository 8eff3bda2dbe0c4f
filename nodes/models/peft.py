"""What PEFT's configuration says of the scale of a LoRA's weights: beside the file, or in its metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
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
from pydantic_core import SchemaError, SchemaValidator, core_schema

MOST_PATTERNS, LONGEST = 10_000, 1_000  # an alpha_pattern has at most a layer's name for each layer
MOST_REPEATED = 100  # times that a pattern's counts may repeat a part: a short one can stand for millions of letters
CONFIG, METADATA = "adapter_config.json", "lora_adapter_metadata"

Alpha = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Matcher = Callable[[str], bool]


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


def _spelt(name: str) -> Any:
    """A field as PEFT writes it, and as diffusers does in a file's metadata: with the module's name in front."""
    return Field(None, validation_alias=AliasChoices(name, f"transformer.{name}", f"unet.{name}"))


def _checked(pattern: str) -> str:
    _matcher(pattern)
    return pattern


Pattern = Annotated[str, Field(max_length=LONGEST), AfterValidator(_checked)]


class PeftConfig(BaseModel):
    """What PEFT's configuration says of the scale of its weights."""

    model_config = ConfigDict(strict=True)

    lora_alpha: Alpha | None = _spelt("lora_alpha")
    alpha_pattern: Annotated[dict[Pattern, Alpha], Field(max_length=MOST_PATTERNS)] | None = _spelt("alpha_pattern")
    use_rslora: bool | None = _spelt("use_rslora")  # the scale is α/√r instead of α/r

    @cached_property
    def matchers(self) -> list[tuple[Matcher, float]]:
        return [(_matcher(pattern), alpha) for pattern, alpha in (self.alpha_pattern or {}).items()]

    def alpha(self, layer: str, rank: int) -> float:
        """The layer's α for the host, whose scale is α/r: that of the first pattern that fits, else `lora_alpha`."""
        found = (alpha for fits, alpha in self.matchers if fits(layer))
        return next(found, self.lora_alpha or 0.0) * (rank**0.5 if self.use_rslora else 1.0)


def peft_config(path: Path, metadata: Mapping[str, str] | None) -> PeftConfig | None:
    """Of a LoRA file: from the metadata that diffusers writes, else from the file that PEFT writes beside it.

    None where neither says the scale. Raises ValueError, in one sentence, where one of them cannot be read.
    """
    if METADATA in (metadata or {}):
        found = _read(metadata[METADATA], f"{METADATA}, in the metadata of “{path.name}”,")
        if found is not None:
            return found
    try:
        text = path.with_name(CONFIG).read_bytes()
    except OSError:
        return None
    return _read(text, f"{CONFIG}, beside “{path.name}”,")


def _read(text: str | bytes, what: str) -> PeftConfig | None:
    try:
        config = PeftConfig.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name, *rest = [*wrong["loc"], ""]
        place = f"{name} “{_short(rest[0], 40)}”: " if name and rest[0] else f"{name}: " if name else ""
        reason = place + wrong["msg"].removeprefix("Value error, ")
        raise ValueError(
            f"{what} cannot be read ({_short(reason, 200)}), so that the LoRA's scale is not known: mend it, or take "
            "it away, and alpha = rank is assumed."
        ) from None
    return config if config.lora_alpha is not None else None


def _short(text: Any, most: int) -> str:
    """On one line, of at most so many characters."""
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
