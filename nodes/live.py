"""What the page shows of a realigned run while it goes on: a line of text, and the strip of a sweep's pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy_execution.utils import get_executing_context
from einops import repeat
from PIL import Image
from torch import Tensor

from ..realign_core import Sweep, Trace
from .models.latents import streams
from .page import show_text
from .pictures.labels import number
from .pictures.particle_strip import ParticleStrip
from .pictures.particle_words import told
from .pictures.strip import Strip
from .pictures.text import as_image
from .run.call import Call
from .run.picked import Picked
from .run.planned import Planned
from .run.realignment import Realignment

Drawn = TypeVar("Drawn")
Callback = Callable[[int, Tensor, Tensor, int], None]  # the host's: (step, x0, x, total steps)
SHARE = 0.01  # of a run's time that the strip may take
TEXT_INTERVAL = 0.2  # seconds
NOT_SHOWN = "Realign: the sweep's pictures cannot be shown on the node (%s)"


class Progress:
    """Around the host's callback: progress over all parts of a run, text on the node that runs, and the strip.

    callback: the host's. strip: None where the run is no sweep, or there are no pictures to show. preview: draws them.
    withheld: the host's callback shows one picture of the run, which would replace the strip, so that it is called
    only at the end.
    """

    def __init__(
        self,
        realignment: Realignment,
        callback: Callback,
        latent_shapes: Sequence[Sequence[int]],
        strip: Strip | ParticleStrip | None = None,
        preview: Any = None,
        withheld: bool = False,
    ):
        self.realignment, self.callback, self.latent_shapes = realignment, callback, latent_shapes
        self.strip, self.preview, self.withheld = strip, preview, withheld
        self.particles = realignment.particles
        self.last: tuple[Any, ...] | None = None  # what the host's callback was not told
        self.bar = comfy.utils.ProgressBar(1)
        context = get_executing_context()
        self.node_id = context.node_id if context else None
        self.began, self.drawing, self.said = time.perf_counter(), 0.0, 0.0
        self.facts, self.notes = "", ""  # on the node: of the newest step, and what holds for the whole run
        self.plan: Planned | None = None  # of the part that `last` is of
        self.whole: list[Tensor] = []
        self.picture: Image.Image | None = None  # the strip as it is at the end

    @classmethod
    def of(cls, realignment: Realignment, guider: Any, call: Call) -> Progress:
        shapes = call.latent_shapes
        callback, patcher = call.callback or _silent, guider.model_patcher
        many = realignment.particles > 1
        if realignment.sweep is None and not many:
            return cls(realignment, callback, shapes)
        theirs, preview = _previewers(patcher, shapes[0])
        if preview is None:
            return cls(realignment, callback, shapes)
        size = call.noise.shape[0]
        strip = Strip(realignment.sweep, call.seed) if realignment.sweep else ParticleStrip(size, realignment.particles)
        return cls(realignment, callback, shapes, strip, preview, theirs is not None)

    def part(self, plan: Planned, number: int, count: int) -> Callback:
        """The callback of one of `count` parts of the run."""
        each = range(self.particles)
        places = [element * self.particles + particle for element in plan.part.elements for particle in each]

        def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            last = step + 1 >= total
            done = step if count == 1 else number * total + min(step, total - 1)  # adaptive samplers take more steps
            if plan.part.particles < self.particles:  # where there is nothing to weigh, one is sampled for all
                x0, x = (repeat(value, "m ... -> (m n) ...", n=self.particles) for value in (x0, x))
            self.plan, self.last = plan, (done, *self._in_whole(places, x0, x), count * total)
            if not self.withheld:
                self.callback(*self._of_host())
            self._say(plan, done, count * total, last)
            self._draw(plan, places, x0, done, count * total, last)

        return callback

    def _of_host(self, index: Tensor | None = None) -> tuple[Any, ...]:
        """What the host is told, who knows of no particles: the first of each group, or these elements."""
        assert self.last is not None
        step, x0, x, total = self.last
        if index is None:
            return step, x0[:: self.particles], x[:: self.particles], total
        return step, x0[index.to(x0.device)], x[index.to(x.device)], total

    def finish(self, picked: Picked | None = None) -> None:
        """After the run: what the host's callback was not told, and the strip as it is at the end."""
        if self.last is None:
            return
        if self.withheld or picked is not None:
            self.callback(*self._of_host(picked and picked.index))
        done, *_, total = self.last
        if self.plan is not None:
            self._say(self.plan, done, total, True)  # a sampler that chooses its steps does not tell which is the last
        if self.strip is not None:
            self.picture = self._drawn(lambda strip: strip.picture())
            self._send(self.picture, total, total)
        if picked is not None:
            self.notes = (
                "\n".join(["", *told(picked.trace.info["particles"], swept=self.realignment.sweep is not None)])
                + self.notes
            )
            self._show()

    def say(self, text: str) -> None:
        """Below the line that changes with the steps."""
        self.notes += f"\n{text}"
        self._show()

    @property
    def text(self) -> str:
        """What stands on the node."""
        return f"{self.facts}{self.notes}".strip()

    def strip_image(self) -> Tensor | None:
        """IMAGE (1, H, W, 3): the strip that is on the node; None where there is none."""
        return None if self.picture is None else as_image(self.picture)

    def _show(self) -> None:
        show_text(self.node_id, self.text)

    def _in_whole(self, places: Sequence[int], *parts: Tensor) -> list[Tensor]:
        """The whole batch, with what is not sampled yet at 0."""
        size = self.latent_shapes[0][0] * self.particles
        if len(places) == size:
            return list(parts)
        if [one.shape[1:] for one in self.whole] != [part.shape[1:] for part in parts]:  # some samplers let them grow
            self.whole = [part.new_zeros((size, *part.shape[1:])) for part in parts]
        for whole, part in zip(self.whole, parts):
            whole[list(places)] = part
        return self.whole

    def _say(self, plan: Planned, step: int, total: int, last: bool) -> None:
        trace = plan.trace
        now = time.perf_counter()
        if not trace.steps or (now - self.said < TEXT_INTERVAL and not last):
            return
        self.said = now
        place = f"step {step + 1}/{max(total, step + 1)}"  # some take more than they were to
        facts = " · ".join([place, *self._facts(trace, last), *_population_facts(plan)])
        if facts != self.facts:
            self.facts = facts
            self._show()

    def _facts(self, trace: Trace, last: bool) -> list[str]:
        sweep, anchors, newest = self.realignment.sweep, self.realignment.anchors, trace.steps[-1]
        if sweep is not None:
            facts = [f"{sweep.columns} λ from {min(sweep.values):g} to {max(sweep.values):g}"]
        else:
            table = trace.lambdas if trace.before_mask is None else trace.before_mask
            lambdas = table[newest].mean(-1).tolist()
            facts = ["λ " + " + ".join(number(value, 3) for value in lambdas)] if lambdas else []
            beta = anchors[0].beta if anchors else None
            if len(anchors) == 1 and beta is not None and lambdas[0] > 0:
                facts[0] += f" (β {number(beta / lambdas[0])})"
        if trace.before_mask is not None and bool(trace.before_mask[newest].any()):
            facts.append("masked")
        measured = trace.kl_reference(wait=last) if anchors else []  # without an anchor there is nothing between models
        kls = [value for value in measured if value is not None]
        if kls:
            low, high = (number(kl, 3) for kl in (min(kls), max(kls)))
            facts.append(f"KL {low} nats" if low == high else f"KL {low}–{high} nats")
        each = f" of {self.particles} particles" if self.particles > 1 else ""
        return [*facts, f"{trace.model_calls:.4g} model calls{each}"]

    def _draw(self, plan: Planned, places: Sequence[int], x0: Tensor, step: int, total: int, last: bool) -> None:
        """Send the strip, unless that would take more than its share of the time. last: of this part."""
        began = time.perf_counter()
        now = self.drawing <= SHARE * (began - self.began)
        if self.strip is not None and (now or last):
            self._drawn(lambda strip: self._shown(strip, plan, places, x0))
        self._send(self._drawn(lambda strip: strip.picture()) if now else None, step + 1, total)
        self.drawing += time.perf_counter() - began

    def _shown(self, strip: Strip | ParticleStrip, plan: Planned, places: Sequence[int], x0: Tensor) -> None:
        if not isinstance(strip, ParticleStrip):
            strip.show(plan.part.elements, self._pictures(x0[:: self.particles]))
            return
        strip.show(places, self._pictures(x0))
        if plan.population is not None:
            scores, roots = plan.population.seen()
            for place, score, root in zip(places, scores, roots):
                strip.tell(place, None if score is None else number(score, 3), root)

    def _drawn(self, draw: Callable[[Any], Drawn]) -> Drawn | None:
        """The run is worth more than its pictures: where they cannot be drawn, it goes on without them."""
        if self.strip is None:
            return None
        try:
            return draw(self.strip)
        except Exception as error:
            logging.warning(NOT_SHOWN, error)
            self.strip = None
            return None

    def _send(self, picture: Image.Image | None, done: int, total: int) -> None:
        if picture is not None:
            self.bar.update_absolute(done, total, ("JPEG", picture, None))
        elif self.withheld:
            self.bar.update_absolute(done, total)

    def _pictures(self, x0: Tensor) -> list[Image.Image]:
        shapes = [[x0.shape[0], *shape[1:]] for shape in self.latent_shapes]
        first: Tensor = comfy.utils.unpack_latents(x0, shapes)[0]
        return [self.preview.decode_latent_to_preview(first[i : i + 1]) for i in range(first.shape[0])]


class Grey:
    """Draws latents of which the host knows no colours: three channels as red, green and blue, others by their mean."""

    def decode_latent_to_preview(self, x0: Tensor) -> Image.Image:
        """x0: (1, C, H, W), or (1, C, T, H, W), of which the first frame is drawn."""
        channels = x0[0].float()
        channels = channels[:, 0] if channels.ndim == 4 else channels
        if channels.shape[0] != 3:
            mean = channels.mean(0)
            channels = ((mean - mean.mean()) / (3 * mean.std() + 1e-6)).expand(3, *mean.shape)
        drawn: Image.Image = latent_preview.preview_to_image(channels.movedim(0, -1))
        return drawn


def quick_previewer(latent_format: Any, dimensions: int) -> Any:
    """What draws a latent at next to no cost, with the host's `decode_latent_to_preview`, whatever the user's setting:
    that is for one picture of a run, and a sweep shows all of its. None for a latent that is no picture (sound)."""
    if dimensions < 2:
        return None
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None:
        return Grey()
    names = ("latent_rgb_factors_bias", "latent_rgb_factors_reshape")
    known = {name: getattr(latent_format, name, None) for name in names}
    return latent_preview.Latent2RGBPreviewer(factors, **{name: v for name, v in known.items() if v is not None})


def _previewers(patcher: ModelPatcher, shape: Sequence[int]) -> tuple[Any, Any]:
    """The host's, by the user's setting, and the one to use; None for each that there is not. shape: of the latent."""
    theirs = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
    return theirs, theirs or quick_previewer(patcher.model.latent_format, len(shape) - 2)


def strip_of(patcher: ModelPatcher, samples: Tensor, sweep: Sweep, seed: int) -> Tensor | None:
    """IMAGE (1, H, W, 3): the strip of a sweep that is there. samples: its latents, as they came out. None where they
    cannot be shown."""
    first = streams(samples)[0]
    _, preview = _previewers(patcher, first.shape)
    if preview is None:
        return None
    strip = Strip(sweep, seed)
    try:
        for place in range(len(first)):
            latent = patcher.model.process_latent_in(first[place : place + 1].to(patcher.load_device))
            strip.show([place], [preview.decode_latent_to_preview(latent)])
        return as_image(strip.picture())
    except Exception as error:
        logging.warning(NOT_SHOWN, error)
        return None


def _population_facts(plan: Planned) -> list[str]:
    """Of a run with particles: the mean reward that was asked last, and how many particles count."""
    population = plan.population
    if population is None:
        return []
    scores, _ = population.seen()
    known = [score for score in scores if score is not None]
    tilt, size = population.steering.tilt, population.steering.particles
    facts = [f"{tilt.name} {number(sum(known) / len(known), 3)}"] if tilt and known else []
    return [*facts, f"{number(population.ess(), 2)} of {size} particles count"] if size > 1 else facts


def _silent(step: int, x0: Tensor, x: Tensor, total: int) -> None:
    """Stands in where the host gave no callback."""
