"""What a sampler asked and was answered, kept; and the same questions, asked again of another model's own run.

So a mixture is compared with its models question by question, at the very same x: nothing adds up over the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy.samplers import KSAMPLER
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Asked:
    """A question and its answer, on the CPU."""

    x: Tensor  # (B, …)
    sigma: Tensor  # (B,)
    denoised: Tensor  # (B, …)
    seconds: float


@dataclass(eq=False)
class Tape:
    """The questions of one run."""

    asked: list[Asked] = field(default_factory=list)
    then: Callable[[], None] = lambda: None  # called when all are asked, while the models are still loaded

    @property
    def seconds(self) -> float:
        """Of a typical question; the first one also pays for what is done once."""
        times = sorted(one.seconds for one in self.asked[1:] or self.asked)
        return times[len(times) // 2] if times else 0.0


def recording(sampler: KSAMPLER, tape: Tape) -> KSAMPLER:
    """The sampler, with what it asks put on the tape."""

    def record(model: Any, x: Tensor, sigmas: Tensor, **more: Any) -> Tensor:
        tape.asked.clear()  # a wrapper may have the sampler run again
        out: Tensor = sampler.sampler_function(_Listening(model, tape), x, sigmas, **more)
        tape.then()
        return out

    return KSAMPLER(record, sampler.extra_options, sampler.inpaint_options)


def replaying(
    questions: Sequence[Asked], sampler: KSAMPLER, tape: Tape, moved: Callable[[Tensor], Tensor] = lambda x: x
) -> KSAMPLER:
    """Asks these questions in place of the sampler's own. moved: what becomes of each x, for measuring rounding."""

    def replay(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, callback: Any = None, disable: Any = None
    ) -> Tensor:
        tape.asked.clear()
        listening = _Listening(model, tape)
        for i, question in enumerate(questions):
            at = moved(question.x.to(x.device, x.dtype))
            sigma = question.sigma.to(x.device)
            denoised = listening(at, sigma, **(extra_args or {}))
            if callback is not None:
                callback({"x": at, "i": i, "sigma": sigma[0], "sigma_hat": sigma[0], "denoised": denoised})
        return x

    return KSAMPLER(replay, {}, sampler.inpaint_options)


class _Listening:
    """Stands in for the model that a sampler calls."""

    def __init__(self, model: Any, tape: Tape):
        self._model, self._tape = model, tape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, sigma: Tensor, **more: Any) -> Tensor:
        began = time.perf_counter()
        denoised: Tensor = self._model(x, sigma, **more)
        kept = denoised.detach().to("cpu", copy=True)  # a device is done by then
        seconds = time.perf_counter() - began
        self._tape.asked.append(Asked(x.detach().to("cpu", copy=True), sigma.detach().cpu(), kept, seconds))
        return denoised
