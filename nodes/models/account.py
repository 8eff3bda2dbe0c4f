"""What became of each key of a file: used, a text encoder's, or left out and why. The node's line and log say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    USED = "used"
    TEXT_ENCODER = "text encoder"  # of a LoRA that trains both; an anchor is a diffusion model
    NO_LAYER = "for no layer of this model"
    OTHER_SIZE = "for a layer of another size"
    NOTHING = "of rank 0, which adds nothing"
    UNKNOWN = "of a meaning that is not known here"
    ELSEWHERE = "for parts of a checkpoint that are not loaded here"


SAID = (Fate.NOTHING, Fate.UNKNOWN)  # layers that do not fit are said by their names


@dataclass(frozen=True)
class Account:
    """fates: by key, of every key of the file. layers: the layers that it has for the diffusion model, and of each
    whether it is used. notes: what else has to be said, e.g. of the scale."""

    fates: Mapping[str, Fate]
    layers: Mapping[str, bool]
    text_encoder_layers: int = 0
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the diffusion model's layers in the file that are used: 0 to 1; 0 where it has none."""
        return sum(self.layers.values()) / len(self.layers) if self.layers else 0.0

    @property
    def missed(self) -> list[str]:
        return sorted(layer for layer, used in self.layers.items() if not used)

    def lines(self) -> list[str]:
        """For the node: of an adapter what is used and what is not, of a full model what is left out."""
        said = [self._matched()] if self.layers else []
        said += self.notes
        if self.text_encoder_layers:
            said.append(
                f"text-encoder part ({_count(self.text_encoder_layers, 'layer')}) not used here: for it, connect “Load "
                "LoRA (Model and CLIP)” with strength_model 0 to the CLIP"
            )
        return said + self._left_out()

    def _matched(self) -> str:
        used, all_of_them = sum(self.layers.values()), len(self.layers)
        if used == all_of_them:
            return f"all {_count(used, 'layer')}: 100% of the LoRA's layers matched"
        share = min(self.share, 0.994)  # never “100%” of what is not all
        return (
            f"only {used} of {all_of_them} layers: {share:.0%} of the LoRA's layers matched, not e.g. {self.missed[0]}"
        )

    def _left_out(self) -> list[str]:
        counts = Counter(self.fates.values())
        first = {why: next(k for k, fate in self.fates.items() if fate is why) for why in SAID if counts[why]}
        return [f"left out: {_count(counts[why], 'weight')} {why.value}, e.g. {key}" for why, key in first.items()]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
