"""What the page shows of a realigned run while it goes on: a line of text, and the strip of a sweep's pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import comfy.utils
import latent_preview
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

from ..realign_core import TraceStep
from .anchor_guider import Prepared
from .labels import number
from .node_text import show_text
from .strip import Strip

if TYPE_CHECKING:
    from .realignment import Realignment

Callback = Callable[[int, Tensor, Tensor, int], None]  # the host's: (step, x0, x, total steps)
SHARE = 0.01  # of a run's time that the strip may take
TEXT_INTERVAL = 0.2  # seconds


class Progress:
    """Around the host's callback: progress over all parts of a run, text on the node that runs, and the strip.

    callback: the host's. strip: None where the run is no sweep. preview: the host's previewer, None where the user has
    previews off.
    """

    def __init__(
        self,
        realignment: Realignment,
        callback: Callback,
        latent_shapes: Sequence[Sequence[int]],
        strip: Strip | None = None,
        preview: Any = None,
    ):
        self.realignment, self.callback, self.latent_shapes = realignment, callback, latent_shapes
        self.strip, self.preview = strip, preview
        self.bar = comfy.utils.ProgressBar(1) if strip is not None and preview is not None else None
        context = get_executing_context()
        self.node_id = context.node_id if context else None
        self.began, self.drawing, self.said = time.perf_counter(), 0.0, 0.0
        self.whole: list[Tensor] = []

    @classmethod
    def of(cls, realignment: Realignment, guider: Any, prepared: Prepared, more: dict[str, Any]) -> Progress:
        shapes = more.get("latent_shapes") or [prepared.noise.shape]
        patcher, strip, preview = guider.model_patcher, None, None
        if realignment.sweep is not None:
            strip = Strip(realignment.sweep, prepared.seed)
            preview = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        return cls(realignment, prepared.callback or _silent, shapes, strip, preview)

    def part(self, places: Sequence[int], number: int, count: int) -> Callback:
        """The callback of one of `count` parts of the run, that of the batch's elements `places`."""

        def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            last = step + 1 >= total
            done = step if count == 1 else number * total + min(step, total - 1)  # adaptive samplers take more steps
            whole = self._in_whole(places, x0, x)
            if self.bar is None or done + 1 == count * total:  # its preview of one picture would replace the strip
                self.callback(done, *whole, count * total)
            self._say(done, count * total, last)
            self._draw(places, x0, done, count * total, last)

        return callback

    def _in_whole(self, places: Sequence[int], *parts: Tensor) -> list[Tensor]:
        """The whole batch, with what is not sampled yet at 0."""
        size = self.latent_shapes[0][0]
        if len(places) == size:
            return list(parts)
        if not self.whole:
            self.whole = [part.new_zeros((size, *part.shape[1:])) for part in parts]
        for whole, part in zip(self.whole, parts):
            whole[list(places)] = part
        return self.whole

    def _say(self, step: int, total: int, last: bool) -> None:
        now = time.perf_counter()
        record = self.realignment.record.last()
        if record is None or (now - self.said < TEXT_INTERVAL and not last):
            return
        self.said = now
        show_text(self.node_id, " · ".join([f"step {step + 1}/{total}", *self._facts(record)]))

    def _facts(self, record: TraceStep) -> list[str]:
        sweep, anchors = self.realignment.sweep, self.realignment.anchors
        if sweep is not None:
            facts = [f"{sweep.columns} λ from {min(sweep.values):g} to {max(sweep.values):g}"]
        else:
            lambdas = [float(value.mean()) for value in record.before_mask or record.lambdas]
            facts = ["λ " + " + ".join(number(value, 3) for value in lambdas)]
            beta = anchors[0].beta
            if len(anchors) == 1 and beta is not None and lambdas[0] > 0:
                facts[0] += f" (β {number(beta / lambdas[0])})"
        if record.before_mask is not None and any(bool(value.any()) for value in record.before_mask):
            facts.append("masked")
        kls = self.realignment.record.kl_reference()
        if kls:
            low, high = (number(kl, 3) for kl in (min(kls), max(kls)))
            facts.append(f"KL {low} nats" if low == high else f"KL {low}–{high} nats")
        return [*facts, f"{self.realignment.record.calls:.4g} model calls"]

    def _draw(self, places: Sequence[int], x0: Tensor, step: int, total: int, must: bool) -> None:
        """Send the strip, unless that would take more than its share of the time."""
        began = time.perf_counter()
        if self.bar is None or self.strip is None:
            return
        if not must and self.drawing > SHARE * (began - self.began):
            self.bar.update_absolute(step + 1, total)
            return
        self.strip.show(places, self._pictures(x0))
        self.bar.update_absolute(step + 1, total, ("JPEG", self.strip.picture(), None))
        self.drawing += time.perf_counter() - began

    def _pictures(self, x0: Tensor) -> list[Image.Image]:
        shapes = [[x0.shape[0], *shape[1:]] for shape in self.latent_shapes]
        first: Tensor = comfy.utils.unpack_latents(x0, shapes)[0]
        return [self.preview.decode_latent_to_preview(first[i : i + 1]) for i in range(first.shape[0])]


def _silent(step: int, x0: Tensor, x: Tensor, total: int) -> None:
    """Stands in where the host gave no callback."""
