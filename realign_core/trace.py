"""What a realigned run did: λ, σ, the KL it spent, the model calls it made; per step and batch element."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import reduce
from torch import Tensor


@dataclass
class Trace:
    """Made by `Trace.of` before a run, filled by `record` while it goes on."""

    sigmas: list[float]  # T + 1
    lambdas: Tensor  # (T, K, B), on the CPU: λ of each anchor; where a mask multiplies it, the mean over the pixels
    known: Tensor  # (T, K + 1, B), on the CPU: `kl` without the last step's, which may still be on the device
    calls: list[float]  # (T,): model calls, in those of one model
    saved: list[float]  # (T,): how many fewer than the exact run's
    correction: list[float | None]  # (T,): see `Prediction`
    before_mask: Tensor | None = None  # (T, K, B), on the CPU: λ where its mask is 1; None: a run without masks
    info: dict[str, Any] = field(default_factory=dict)  # what is known of the run: anchors, β, η, sampler …
    _late: tuple[int, Tensor] | None = None  # a step and its KL (K + 1, B), not yet in `known`

    # Normal tensors throughout: a run in inference mode may leave it for a gradient, and is recorded there too.

    @classmethod
    @torch.inference_mode(False)
    def of(
        cls,
        sigmas: Sequence[float],
        lambdas: Tensor,
        *,
        before_mask: Tensor | None = None,
    ) -> Trace:
        """Of a run that has not begun. sigmas: T + 1 levels, or none of a run without steps. lambdas: (T, K, B)."""
        steps, anchors, size = lambdas.shape
        kl = torch.full((steps, anchors + 1, size), torch.nan)
        return cls(list(sigmas), lambdas, kl, [0.0] * steps, [0.0] * steps, [None] * steps, before_mask)

    @property
    def kl(self) -> Tensor:
        """(T, K + 1, B), on the CPU: what a step adds to KL(realigned ‖ model), nats; NaN: not known."""
        self.settle()
        return self.known

    @torch.inference_mode(False)
    def settle(self, beside: Tensor | None = None) -> Tensor | None:
        """Brings the last step's KL to the CPU, and in the same copy, so that the device is waited for once, `beside`
        (N,), which is returned there in fp32."""
        if self._late is None:
            return None if beside is None else beside.float().cpu()
        step, kl = self._late
        parts = [kl.flatten()] if beside is None else [kl.flatten(), beside.to(kl)]
        values = torch.cat(parts).cpu()
        self.known[step], self._late = values[: kl.numel()].reshape(kl.shape), None
        return None if beside is None else values[kl.numel() :]

    @property
    def batch_size(self) -> int:
        return self.lambdas.shape[-1]

    @property
    def steps(self) -> list[int]:
        """The steps that were sampled, of T."""
        return [i for i, calls in enumerate(self.calls) if calls]

    @property
    def model_calls(self) -> float:
        return sum(self.calls)

    def record(
        self, step: int, kl: Tensor | None, calls: float, saved: float = 0.0, correction: float | None = None
    ) -> None:
        """kl: (K + 1, B), on any device; None: of a further answer within what is recorded already. All of a step adds
        up: samplers ask more than once in it, or take several steps of their own."""
        if kl is not None:
            self.settle()
            kl = kl.detach()
            self._late = (step, kl + self.known[step].to(kl) if self.calls[step] else kl)
            self.correction[step] = correction
        self.calls[step] += calls
        self.saved[step] += saved

    @torch.inference_mode(False)
    def clear(self) -> None:
        """As if the run had not begun."""
        self.known, self._late = torch.full_like(self.known, torch.nan), None
        for values in (self.calls, self.saved):
            values[:] = [0.0] * len(values)

    @torch.inference_mode(False)
    def take(self, index: Tensor) -> None:
        """From now on the batch's element i is what element index[i] was. index: (B,)."""
        chosen = index.cpu()
        self.known = self.kl[..., chosen]
        self.lambdas = self.lambdas[..., chosen]
        self.before_mask = None if self.before_mask is None else self.before_mask[..., chosen]

    def spent(self, wait: bool = True) -> Tensor:
        """(K + 1, B), fp64: KL(realigned ‖ model) of the steps sampled so far; NaN where it cannot be known. wait: for
        the last step's too, where it is still on the device."""
        if wait:
            self.settle()
        late = None if self._late is None else self._late[0]
        return reduce(
            self.known[[step for step in self.steps if step != late]].double(),
            "step model element -> model element",
            "sum",
        )

    def kl_reference(self, wait: bool = True) -> list[float | None]:
        """KL(realigned ‖ reference), nats, per batch element; None where the reference was not asked in some step.
        wait: see `spent`."""
        return _listed(self.spent(wait)[0]) if self.steps else [None] * self.batch_size

    def kl_anchors(self) -> list[list[float | None]]:
        """As `kl_reference`, to each anchor."""
        return [_listed(values) for values in self.spent()[1:]] if self.steps else []

    @classmethod
    def join(cls, parts: Sequence[tuple[Sequence[int], Trace]]) -> Trace:
        """One trace of runs over the same levels, each with some elements of a whole batch: (which, its trace).

        model_calls and calls_saved are those per element, on average.
        """
        elements = torch.tensor([element for which, _ in parts for element in which])
        order, traces = elements.argsort(), [trace for _, trace in parts]
        shares = [len(which) / len(elements) for which, _ in parts]

        def joined(columns: Sequence[Tensor]) -> Tensor:
            return torch.cat([column.cpu() for column in columns], -1)[..., order]

        def averaged(columns: Sequence[Sequence[float]]) -> list[float]:
            return [sum(share * value for share, value in zip(shares, step)) for step in zip(*columns)]

        corrections = zip(*(trace.correction for trace in traces))
        masked = [trace.before_mask for trace in traces if trace.before_mask is not None]
        return cls(
            traces[0].sigmas,
            joined([trace.lambdas for trace in traces]),
            joined([trace.kl for trace in traces]),
            averaged([trace.calls for trace in traces]),
            averaged([trace.saved for trace in traces]),
            [max((value for value in step if value is not None), default=None) for step in corrections],
            joined(masked) if masked else None,
            dict(traces[0].info),
        )

    def to_dict(self) -> dict[str, Any]:
        kl = self.kl
        return {
            **self.info,
            "model_calls": self.model_calls,
            "model_calls_saved": sum(self.saved),
            "kl_reference": self.kl_reference(),
            "kl_anchors": self.kl_anchors(),
            "steps": [self._step(i, kl[i]) for i in self.steps],
        }

    def _step(self, i: int, kl: Tensor) -> dict[str, Any]:
        told = {
            "sigma": self.sigmas[i],
            "sigma_next": self.sigmas[i + 1],
            "lambdas": [_listed(values) for values in self.lambdas[i]],
            "kl_reference": _known(kl[0]),
            "kl_anchors": [_known(values) for values in kl[1:]],
            "model_calls": self.calls[i],
            "correction": self.correction[i],
        }
        if self.before_mask is not None:
            told["lambdas_before_mask"] = [_listed(values) for values in self.before_mask[i]]
        return told

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)


def _listed(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]  # JSON has no NaN


def _known(values: Tensor) -> list[float | None] | None:
    """None for a model that was not asked in this step, for no element."""
    return None if bool(values.isnan().all()) else _listed(values)
