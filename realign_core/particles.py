"""Sampling with particles: groups of them that are weighed at every step, and re-drawn where few carry the weight.

Sequential Monte Carlo over the steps of posterior.py: DAS (Kim et al. 2025, arXiv 2501.05803) and Feynman-Kac steering
(Singhal et al. 2025, arXiv 2501.06848) for a reward, Feynman-Kac correctors (Skreta et al. 2025, arXiv 2503.02819) for
the mixture. What is sampled is

    Π_k p_k(x)^{w_k} · exp(r(x)/α_r)

Particle n of group m is the batch's element m·N + n. A group is one run of the algorithm; groups know nothing of each
other until `pool` draws from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from .correction import Correction, Memory, disagreement, guarded
from .gaussian import Scalar
from .population import Particles
from .posterior import MixedSteps, NoiseLevel
from .prediction import Ask, Evaluator, Exact, Prediction
from .resampling import check_scheme, effective_sample_size, log_mean_weight, normalised, resample
from .sampling import NoiseSource, StepCallback, of_step, predictor, prepared
from .tilt import Tilt, Twist
from .trace import Trace

Generators = torch.Generator | Sequence[torch.Generator] | None


class ParticleRun:
    """The particles of one run, between the models' answers. `particle_steps` is the loop around it, which a host's
    sampler may as well write itself:

        for i in range(len(steps)):
            with run.gradients(i):
                x = run.watched(x, i)
                denoised = model(x, i)
            x = run.step(i, x, denoised, noise, disagreement)
        run.result(x)

    What belongs to a particle is kept here, in `memory`, or by whoever is told by `take`.
    """

    def __init__(
        self,
        steps: MixedSteps,
        *,
        groups: int,
        particles: int,
        tilt: Tilt | None = None,
        correct: bool = False,
        scheme: str = "systematic",
        threshold: float = 0.5,
        generator: Generators = None,
        followers: Sequence[Callable[[Tensor], None]] = (),
    ) -> None:
        """steps: of the run, checked. scheme, threshold: a group is re-drawn where its ESS is below threshold·N.
        generator: of the resampling, on the CPU; one of each group, or one for all. followers: each is told (M·N,), the
        index that all that belongs to an element follows: a run's or an evaluator's `take`, a trace's.

        Raises ValueError for what could not be sampled: see `check_particles`.
        """
        check_particles(steps, groups, particles, tilt, correct, scheme, threshold)
        self.steps, self.groups, self.particles = steps, groups, particles
        self.scheme, self.threshold, self.generator = scheme, threshold, generator
        self.followers = followers
        self.memory: Memory = {}
        self.twist = Twist(tilt, steps.levels, groups, particles, self.memory) if tilt else None
        self.correction = Correction(self.memory) if correct else None
        self.log_weights = torch.zeros(groups, particles, dtype=torch.float64)
        self.log_z = torch.zeros(groups, dtype=torch.float64)
        self._own = torch.arange(particles).expand(groups, particles)
        self.ancestors = self._own.expand(len(steps), groups, particles).clone()
        self.ess = torch.full((len(steps), groups), float(particles), dtype=torch.float64)
        self.tau = torch.zeros(len(steps), groups, dtype=torch.float64)
        self.asked = torch.full((len(steps), groups, particles), torch.nan, dtype=torch.float64)
        self._paid: Tensor | None = None  # log p - log q of the last proposal, (B,), on the device

    def watched(self, x: Tensor, i: int) -> Tensor:
        """x as the models have to see it at step i: with a gradient where it has to go back through them."""
        if self.twist is None or not self.twist.through_models(i):
            return x
        with torch.inference_mode(False):
            return x.detach().clone().requires_grad_()

    def gradients(self, i: int) -> AbstractContextManager[object]:
        """Around the models' calls at step i."""
        if self.twist is None or not self.twist.through_models(i):
            return nullcontext()
        return _with_gradients()

    def step(
        self,
        i: int,
        x: Tensor,
        denoised: Tensor,
        noise: Callable[[], Tensor],
        disagreement: Tensor | None = None,
    ) -> Tensor:
        """x at the next level, like x, detached. x: as `watched` gave it. denoised: D there. noise: standard normal,
        like x, another one for each particle. disagreement: of `correction.disagreement`, where the run corrects."""
        increments = torch.zeros_like(self.log_weights)
        if self._paid is not None:
            increments, self._paid = increments + self._grouped(self._paid), None
        if self.correction is not None:
            if disagreement is None:
                raise ValueError("a run that corrects the mixture needs the disagreement of its models at every step")
            weighed = self._grouped(self.correction.weigh(self.steps.levels[i], disagreement))
            increments = increments + guarded(weighed)
        if self.twist is not None:
            increments = increments + self._grouped(self.twist.weigh(i, x, denoised))
            self.tau[i] = self.twist.tau
            if self.twist.rewards is not None:
                self.asked[i] = self._grouped(self.twist.rewards)
        self.log_weights = self.log_weights + increments
        self.memory["x"], self.memory["denoised"] = x.detach(), denoised.detach()
        self._redraw(i)
        return self._propose(i, noise)

    def _redraw(self, i: int) -> None:
        self.ess[i] = effective_sample_size(self.log_weights)
        few = self.ess[i] < self.threshold * self.particles
        if i == len(self.steps) - 1 or not bool(few.any()):  # after the last step the weights are the result
            return
        index = self._own.clone()
        if isinstance(self.generator, Sequence):
            for group in few.nonzero().flatten().tolist():
                weights, own = self.log_weights[group], self.generator[group]
                index[group] = resample(weights, self.particles, self.scheme, own)
        else:
            index[few] = resample(self.log_weights[few], self.particles, self.scheme, self.generator)
        self.log_z[few] += log_mean_weight(self.log_weights[few])
        self.log_weights[few] = 0.0
        self.ancestors[i] = index
        self.take(rearrange(index + torch.arange(self.groups)[:, None] * self.particles, "m n -> (m n)"))

    def take(self, index: Tensor) -> None:
        """From now on element i is what element index[i] was, in all that belongs to a particle. index: (B,), CPU."""
        for name, value in self.memory.items():
            self.memory[name] = value[index.to(value.device)]
        for follow in self.followers:
            follow(index)

    def _propose(self, i: int, noise: Callable[[], Tensor]) -> Tensor:
        """From N(μ + v·shift, v), μ and v of the step; log p - log q of the draw is paid at the next step."""
        x, denoised, shift = self.memory.pop("x"), self.memory.pop("denoised"), self.memory.get("shift")
        step = self.steps[i]
        if shift is None:
            return step.draw(x, denoised, noise)

        def shifted() -> Tensor:
            drawn = noise().to(shift)
            along = step.scaled(shift)
            self._paid = -rearrange(along * drawn + along.square() / 2, "b ... -> b (...)").sum(-1)
            return drawn + along

        return step.draw(x, denoised, shifted)

    def result(self, x: Tensor, trace: Trace | None = None) -> Particles:
        """x: after the last step."""
        tilted = self.twist is not None
        return Particles(
            x,
            normalised(self.log_weights),
            self.log_z + log_mean_weight(self.log_weights),
            self.ancestors,
            self.ess,
            trace,
            self.asked if tilted else None,
            self.tau if tilted else None,
            self.twist.tilt.strength if self.twist else None,
        )

    def _grouped(self, values: Tensor) -> Tensor:
        return rearrange(values.detach().cpu().double(), "(m n) -> m n", m=self.groups)


@contextmanager
def _with_gradients() -> Iterator[None]:
    """Also where the caller runs in inference mode, as a host may."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def check_particles(
    steps: MixedSteps, groups: int, particles: int, tilt: Tilt | None, correct: bool, scheme: str, threshold: float
) -> None:
    """Raises ValueError for a run that could not be sampled, before any model is called. steps: checked themselves."""
    check_scheme(scheme)
    if groups < 1 or particles < 1:
        raise ValueError(f"there must be at least one group of one particle, not {groups} of {particles}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is a share of the particles, 0 to 1, not {threshold}")
    if (particles > 1 or tilt) and min(steps.etas) <= 0:
        raise ValueError(
            "particles need eta above 0: with eta 0 (DDIM) a step has no noise, so that copies of a particle stay "
            "copies and a reward has nothing to steer. Take eta 1, or anything above 0."
        )
    if tilt and float(steps.levels[-1].sigma) != 0:
        raise ValueError(
            "a reward needs a schedule that ends at σ = 0, but this one ends at "
            f"{float(steps.levels[-1].sigma):.4g}: sample to the end, where there is a picture to judge."
        )
    if correct:
        _check_correction(steps)


def _check_correction(steps: MixedSteps) -> None:
    if len(steps.etas) == 1:
        raise ValueError("without an anchor there is no mixture to correct: leave correct off, or add an anchor")
    if len(set(steps.etas)) > 1:
        raise ValueError("the correction is known for one eta only: give the anchors that of the reference")
    first = [torch.as_tensor(value) for value in steps.lambdas(0)]
    for i in range(len(steps)):
        if any(not torch.equal(torch.as_tensor(value), known) for value, known in zip(steps.lambdas(i), first)):
            raise ValueError(
                f"the correction needs a λ that is the same at all steps, but at step {i + 1} it is another: what a λ "
                "that changes should sample is not known"
            )


def check_groups(steps: MixedSteps, groups: int, particles: int) -> None:
    """Raises ValueError for a λ that differs within a group: its particles would be weighed for different targets."""
    size = groups * particles
    for i in range(len(steps)):
        for value in (torch.as_tensor(value) for value in steps.lambdas(i)):
            if value.ndim and value.shape[0] == size and particles > 1:
                grouped = rearrange(value, "(m n) ... -> m n ...", n=particles)
                if not bool((grouped == grouped[:, :1]).all()):
                    raise ValueError(
                        f"step {i + 1}: λ must be one for all particles of a group, but differs within one"
                    )


def particle_steps(
    predict: Callable[[Tensor, int], Prediction],
    x: Tensor,
    run: ParticleRun,
    *,
    noise: Callable[[int], Tensor],
    callback: StepCallback | None = None,
    order: Iterable[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """(x at the last level, the last D); `sample_steps` with particles. predict: (x_t, step) -> the models' answers."""
    denoised = x
    for i in range(len(run.steps)) if order is None else order:
        with run.gradients(i):
            x = run.watched(x, i)
            predicted = predict(x, i)
        denoised = predicted.combined
        if callback is not None:
            callback(i, x.detach(), denoised.detach())
        apart = disagreement(predicted, run.steps[i].weights) if run.correction else None
        x = run.step(i, x, denoised, partial(noise, i), apart)
    return x, denoised.detach()


def particle_sample(
    evaluate: Ask,
    x: Tensor,
    levels: Sequence[NoiseLevel],
    lambdas: Sequence[Sequence[Scalar]],
    *,
    groups: int,
    particles: int,
    tilt: Tilt | None = None,
    correct: bool = False,
    eta: float | Sequence[float] = 1.0,
    noise: NoiseSource,
    generator: Generators = None,
    scheme: str = "systematic",
    threshold: float = 0.5,
    evaluator: Evaluator | None = None,
    callback: StepCallback | None = None,
    steps: Iterable[int] | None = None,
) -> Particles:
    """Sample Π_k p_k^{w_k} · exp(r/α_r) with `groups` independent groups of `particles`.

    evaluate: the models, as `realigned_sample`'s ask; one model alone has rows without λ. x: (groups·particles, C, ...)
    at levels[0], group by group, each element of its own noise. levels: T + 1, falling, to σ = 0 where there is a tilt.
    lambdas: T rows of K λ, as there, one for all particles of a group. tilt: the reward. correct: weigh what step-wise
    mixing leaves over. eta: above 0, to 1, for all models or one each. noise: standard normal like x, another for each
    element; not called where σ_s = 0. generator: of the resampling, on the CPU, one for all groups or
    one each: then a group is the same whatever is sampled beside it. scheme: see `SCHEMES`. threshold: a group is
    re-drawn where its ESS is below threshold·particles. evaluator, callback, steps: as there.

    With one particle a group and no tilt it is `realigned_sample` to the last bit. Groups may as well run one after
    another: `Particles.join`.

    Raises before the first call what `realigned_sample` does, and ValueError as `check_particles` and `check_groups`
    do; later, ValueError for a reward that fails.
    """
    mixed, trace = prepared(x, levels, lambdas, eta)
    if len(x) != groups * particles:
        raise ValueError(f"{groups} groups of {particles} particles need as many elements of x, but there are {len(x)}")
    check_groups(mixed, groups, particles)
    evaluator = evaluator or Exact()
    run = ParticleRun(
        mixed,
        groups=groups,
        particles=particles,
        tilt=tilt,
        correct=correct,
        scheme=scheme,
        threshold=threshold,
        generator=generator,
        followers=(evaluator.take, trace.take),
    )
    predict = predictor(evaluate, evaluator, mixed, trace)
    out, _ = particle_steps(predict, x, run, noise=of_step(noise, levels), callback=callback, order=steps)
    return run.result(out, trace)
