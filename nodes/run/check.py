"""Is a realigned run right on this machine? Told from a few steps of it beside stock runs of the same models.

Each run is the host's own SamplerCustom with euler. At λ 0 and 1 the latent must be that model's. Between them, each
answer must be the mixture of what the models say to the same question, each asked in a stock run of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_custom_sampler import SamplerCustom
from torch import Tensor

from ..models.anchor import Anchor, Anchors
from ..models.described import suspects, without
from ..models.footprint import Footprint
from ..models.latents import streams
from ..types import Conditioning
from .attach import Attached, attach
from .compared import Mixed, apart
from .findings import REPORT, Failed, Finding, ours
from .realignment import Realignment
from .replay import Asked, Tape, recording, replaying
from .rounding import TIMES, shaken

LAMBDA = 0.5  # of the mixture, over all anchors together
MIXED = f"λ {LAMBDA:g}"
SEED = 0
MOST_SUSPECTS = 8  # each costs three runs
WIDER = "load it in a wider number format (start ComfyUI with --fp32-unet), lower cfg, or download its file again"


@dataclass(frozen=True, eq=False)
class Runs:
    """How every run of a check goes. say: tells the node which one it is."""

    positive: Conditioning
    negative: Conditioning
    latent: dict[str, Any]
    cfg: float
    sigmas: Tensor  # (T + 1,)
    say: Callable[[str], None]

    def latent_of(self, patcher: ModelPatcher, what: str, sampler: Any = None) -> Tensor:
        """What comes out, flat, in fp64 on the CPU."""
        self.say(what)
        inputs = (self.cfg, self.positive, self.negative, sampler or euler(), self.sigmas, self.latent)
        samples = SamplerCustom.execute(patcher, True, SEED, *inputs).args[0]["samples"]
        return torch.cat([part.flatten().cpu().double() for part in streams(samples)])

    def answers(self, patcher: ModelPatcher, questions: Sequence[Asked], what: str, shake: bool = False) -> Tape:
        """Of a stock run of this MODEL to the questions of another. shake: with its rounding made visible."""
        tape = Tape()
        if not shake:
            self.latent_of(patcher, what, replaying(questions, euler(), tape))
        else:
            with shaken(patcher) as moved:
                self.latent_of(patcher, what, replaying(questions, euler(), tape, moved))
        return tape

    def shaken_latent(self, patcher: ModelPatcher, what: str) -> Tensor:
        with shaken(patcher):
            return self.latent_of(patcher, what)


@dataclass(eq=False)
class Check:
    """All that is looked at, in its order. loaded: called while all models of a mixed run are loaded."""

    reference: ModelPatcher
    anchors: Anchors
    runs: Runs
    loaded: Callable[[], None] = lambda: None
    findings: list[Finding] = field(default_factory=list)
    mixed: Mixed | None = None

    def go(self) -> list[Finding]:
        """Raises what a stock run raises: no check can do better."""
        before = self.runs.latent_of(self.reference, "stock run of the reference")
        clean = Footprint.of(self.reference)
        again = self.runs.latent_of(self.reference, "the same once more")
        habit = clean.left(Footprint.of(self.reference))
        latents = [before, *(self._stock(anchor) for anchor in self.anchors)]
        for k, wanted in enumerate(latents):
            self._look(self._end, k, wanted)
        if all(bool(torch.isfinite(latent).all()) for latent in latents):
            self._look(self._mixture)
        self._afterwards(before, again, clean, habit)
        # Last, as it takes nodes off, of which some clean up after others.
        self.findings = [self._named(one) if one.what == MIXED and one.right is False else one for one in self.findings]
        return self.findings

    def _look(self, stage: Callable[..., Finding], *args: Any) -> None:
        try:
            self.findings.append(stage(*args))
        except Failed as failed:
            self.findings.append(failed.finding)

    def _of(self, what: str, anchor: Anchor) -> str:
        return what if len(self.anchors) == 1 else f"{what} of “{anchor.name}”"

    def _stock(self, anchor: Anchor) -> Tensor:
        """The latent of the anchor's own run."""
        return self.runs.latent_of(anchor.patcher, self._of("stock run of the anchor", anchor))

    def _end(self, k: int, wanted: Tensor) -> Finding:
        """λ 0, or λ 1 of anchor k, beside the stock run of that model. k: 0 for the reference."""
        what = self._of("λ 1", self.anchors[k - 1]) if k else "λ 0"
        whose = "anchor" if k else "reference"
        if not torch.isfinite(wanted).all():
            return Finding(what, f"the {whose}'s own stock run gives NaN or infinity", False, WIDER)
        anchors = tuple(_plain(one, 1.0) for one in (self.anchors[k - 1 : k] if k else self.anchors))
        realigned = Realignment.of(anchors, float(k > 0), None)
        got = ours(what, lambda: self.runs.latent_of(attach(self.reference, realigned), what))
        if torch.equal(got, wanted):
            return Finding(what, f"the {whose}'s stock run, bit for bit")
        shaken_latent = self.runs.shaken_latent(self._patchers()[k], f"rounding of the {whose}")
        off, bound = apart(got, wanted), TIMES * apart(shaken_latent, wanted)
        if off <= bound:
            return Finding(what, f"the {whose}'s stock run, but for rounding ({_told(off, bound)})")
        return Finding(what, f"not the {whose}'s stock run ({_told(off, bound)})", False, REPORT)

    def _mixture(self) -> Finding:
        mixed = self.mixed = self._mix(self.reference, self.anchors)
        named = [name for patcher in self._patchers() for name in suspects(patcher)]
        unreached = [self._of("the anchor", a) for k, a in enumerate(self.anchors) if mixed.effect(k) == 0]
        if unreached:
            said = f"{unreached[0]} answers exactly as the reference does, in its own stock run"
            advice = "is its LoRA for this model, and its strength not 0? Or a node keeps it from the weights"
            advice += f" ({', '.join(dict.fromkeys(named))})" if named else ""
            return Finding("anchor", said, False, advice)
        effect = min(mixed.effect(k) for k in range(len(self.anchors)))
        self.findings.append(Finding("anchor", f"its answers are up to {effect:.2g} std from the reference's"))
        what, off, bound = MIXED, mixed.error(), mixed.last_bits()
        if off > bound:
            tapes = [self._shaken(patcher, mixed) for patcher in self._patchers()]
            bound = mixed.rounding(tapes)
        told = _told(off, bound)
        if off > bound:
            return self._wrong(what, mixed, bound)
        if bound >= mixed.weights[1] * effect:  # an anchor that is not there would not be seen
            said = f"cannot be told, as the number format rounds as much as the anchor does ({told})"
            said += f"; it looks like λ {mixed.as_if():.2g}" if len(self.anchors) == 1 else ""
            return Finding(what, said, None, "load both models in a wider number format to be sure")
        return Finding(what, f"the mixture of both, each asked by itself ({told})")

    def _patchers(self) -> list[ModelPatcher]:
        return [self.reference, *(anchor.patcher for anchor in self.anchors)]

    def _shaken(self, patcher: ModelPatcher, mixed: Mixed) -> Tape:
        return self.runs.answers(patcher, mixed.ours.asked, "how much rounding does", shake=True)

    def _mix(self, reference: ModelPatcher, anchors: Anchors) -> Mixed:
        """A realigned run, and each model asked what it was asked. Raises Failed."""
        what, share = MIXED, 1 / len(anchors)
        anchors = tuple(_plain(one, share) for one in anchors)
        tape = Tape(then=self.loaded)

        def run() -> float:
            realigned = attach(reference, Realignment.of(anchors, LAMBDA, None))
            self.runs.latent_of(realigned, what, recording(euler(), tape))
            return Attached.behind(realigned).trace().model_calls / max(len(tape.asked), 1)  # type: ignore[union-attr]

        calls = ours(what, run)
        patchers = [reference, *(anchor.patcher for anchor in anchors)]
        models = [self.runs.answers(one, tape.asked, "each model asked by itself") for one in patchers]
        weights = [1 - LAMBDA, *(LAMBDA * share for _ in anchors)]
        return Mixed(tape, models, weights, calls)

    def _wrong(self, what: str, mixed: Mixed, bound: float) -> Finding:
        """A mixture that is none, and what it looks like."""
        off, lam = mixed.error(), mixed.as_if()
        said = f"not the mixture of both ({_told(off, bound)})"
        if len(self.anchors) == 1 and abs(lam - LAMBDA) > 0.01 and off < float("inf"):
            said += f"; rather as at λ {lam:.2f}"
        return Finding(what, said, False, REPORT)

    def _named(self, wrong: Finding) -> Finding:
        """With the nodes that make the mixture wrong: without them it is right."""
        names = dict.fromkeys(name for patcher in self._patchers() for name in suspects(patcher))
        guilty = [name for name in list(names)[:MOST_SUSPECTS] if self._right_without(name)]
        if not guilty:
            return wrong
        which = " or ".join(f"“{name}”" for name in guilty)
        advice = f"bypass {which}: it remembers or changes what Realign cannot see"
        return replace(wrong, said=f"{wrong.said}; without {which} it is right", advice=advice)

    def _right_without(self, name: str) -> bool:
        anchors = tuple(replace(one, patcher=without(one.patcher, name), kept={}) for one in self.anchors)
        reference = without(self.reference, name)
        try:
            mixed = self._mix(reference, anchors)
        except Failed:
            return False
        patchers = [reference, *(anchor.patcher for anchor in anchors)]
        off = mixed.error()
        return off <= mixed.last_bits() or off <= mixed.rounding([self._shaken(one, mixed) for one in patchers])

    def _afterwards(self, before: Tensor, again: Tensor, clean: Footprint, habit: list[str]) -> None:
        """The reference after all that, by a stock run and by what is on it."""
        after = self.runs.latent_of(self.reference, "the reference afterwards")
        left = [one for one in clean.left(Footprint.of(self.reference)) if one not in habit]
        what = "afterwards"
        if habit:
            said = f"{habit[0]} stays after each stock run, without Realign too"
            advice = "bypass the node that leaves it: the next run finds it there"
            self.findings.append(Finding(what, said, False, advice))
        if left:
            said = f"on the reference is left: {'; '.join(left[:3])}"
            self.findings.append(Finding(what, said, False, f"restart ComfyUI to get rid of it; {REPORT}"))
        if torch.equal(after, before) or not torch.isfinite(before).all():
            if not left and not habit:
                said = "the reference is as before, bit for bit, with all that was on it"
                self.findings.append(Finding(what, said))
            return
        off, machine = apart(after, before), apart(again, before)
        streamed = bool(self.reference.patches) and getattr(self.reference.model, "model_lowvram", False)
        bound = TIMES * machine
        if streamed:  # patched when it is used, or when it is loaded: rounded otherwise
            bound = max(bound, TIMES * apart(self.runs.shaken_latent(self.reference, "rounding"), before))
        if off <= bound:
            said = f"the reference is as before, but for what two stock runs differ by here ({_told(off, bound)})"
            self.findings.append(Finding(what, said))
            return
        said = f"a stock run of the reference is not what it was ({_told(off, bound)})"
        self.findings.append(Finding(what, said, False, f"restart ComfyUI; {REPORT}"))


def euler() -> Any:
    return comfy.samplers.sampler_object("euler")


def _plain(anchor: Anchor, share: float) -> Anchor:
    """Without a λ of its own."""
    return replace(anchor, share=share, schedule=None, mask=None)


def _told(off: float, bound: float) -> str:
    figure = "not a number" if off == float("inf") else f"{off:.1e} std off"
    return f"{figure}, rounding explains {bound:.1e}"
