"""A run's trace as its JSON has it, read so that nothing in it is of another kind, shape or size than a run's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...realign_core import Cell

NOT_A_TRACE = "This is not a trace: {}. Connect Realign Sampler's “trace” output as it is."
NO_STEPS = (
    "The trace holds no step: the guider or MODEL that Realign Trace is connected to was not sampled, or had nothing "
    "to do (denoise 0). Connect Realign Trace to the one that made these pictures."
)

STRICT = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)  # a text is no number, nor is NaN
LARGEST = 2**64  # of whole numbers, seeds among them
END = 1e300  # of all others: far enough from where numbers end that they can be added up and drawn
ROUNDED = 1e-6  # by how much a number that came through fp32 may be beyond its bounds, in relation to them

Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Real = Annotated[float, Field(ge=-END, le=END)]
Number = Whole | Real
Beta = Annotated[int, Field(gt=0, le=LARGEST)] | Annotated[float, Field(gt=0, le=END)]
Values = list[Real | None]  # one per picture or step; None: not known
Scalar = bool | Number | str | None


class Swept(BaseModel):
    """A sweep that ran, as `Sweep.to_dict` has it."""

    model_config = STRICT

    columns: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1, le=LARGEST)] = 1
    cells: tuple[Cell, ...]  # one per picture, in the batch's order: row by row
    schedule: dict[str, Any] | None = None  # what the columns' λ multiply
    prompts: tuple[str, ...] = ()  # of the rows, "" for one that is not known as text
    draft: bool = False  # sampled with fewer model calls

    @model_validator(mode="after")
    def _is_a_table(self) -> Swept:
        if not self.cells or len(self.cells) % self.columns:
            raise ValueError("a row is not whole")
        if any(abs(value) > LARGEST for cell in self.cells for value in cell if value is not None):
            raise ValueError("a number is too large")
        known = {None, *range(len(self.prompts))}
        if any(cell.prompt not in known for cell in self.cells):
            raise ValueError("a picture of no prompt")
        return self


class TracedStep(BaseModel):
    """A step of a trace."""

    model_config = STRICT

    sigma: Number
    sigma_next: Number
    model_calls: Number
    lambdas: list[Values]  # (K, B); of a run with λ masks the mean over the picture
    kl_reference: Values | None  # (B,), what the step adds, nats; None: the model was not called
    kl_anchors: list[Values | None]  # (K, B)
    lambdas_before_mask: list[Values] | None = None  # (K, B), of a run with λ masks
    correction: Real | None = None


class ParticleStep(BaseModel):
    """What a step did to the particles: of each group (M,), and along the ancestors of each picture shown (K,)."""

    model_config = STRICT

    ess: list[Annotated[Real, Field(ge=1 - ROUNDED)]]  # (M,): effective sample size before the re-draw, to N
    unique: list[Annotated[Whole, Field(ge=1)]]  # (M,): starting particles that a group descends from, to N
    tau: list[Annotated[Real, Field(ge=-ROUNDED, le=1 + ROUNDED)]] | None = None  # (M,): the temper
    reward: Values | None = None  # (M,): mean over the particles; None: not asked in this step
    reward_drawn: Values | None = None  # (K,)
    held_out: Values | None = None  # as reward
    held_out_drawn: Values | None = None  # as reward_drawn


class TracedParticles(BaseModel):
    """A run of M groups of N particles, of which K are shown. Rewards are in their own units."""

    model_config = STRICT

    reward: str | None = None  # its name; None: only corrected
    held_out: str | None = None  # the name of one that is watched and not optimised
    strength: Annotated[Real, Field(gt=0)] | None = None  # α_r, a KL coefficient in the reward's units
    corrected: bool = False  # the mixture's correction weight took part
    groups: Annotated[Whole, Field(ge=1)]  # M
    particles: Annotated[Whole, Field(ge=1)]  # N
    pick: Literal["draw", "best", "all"]
    picked: Annotated[list[Annotated[Whole, Field(ge=0)]], Field(min_length=1)]  # (K,): the elements m·N + n shown
    log_z: list[Real]  # (M,)
    kl: list[Real] | None = None  # (M,): KL(target ‖ model), nats, as each group sees it
    scores: list[Real] | None = None  # (K,)
    weights: list[Annotated[Real, Field(ge=0)]]  # (K,)
    held_out_scores: list[Real] | None = None  # (K,)
    steps: list[ParticleStep]  # (T,)

    @model_validator(mode="after")
    def _is_of_one_run(self) -> TracedParticles:
        per_group: list[Any] = [self.log_z, self.kl]
        per_picture: list[Any] = [self.weights, self.scores, self.held_out_scores]
        for step in self.steps:
            per_group += [step.ess, step.unique, step.tau, step.reward, step.held_out]
            per_picture += [step.reward_drawn, step.held_out_drawn]
        if any(values is not None and len(values) != self.groups for values in per_group):
            raise ValueError("parts of other groups")
        if any(values is not None and len(values) != len(self.picked) for values in per_picture):
            raise ValueError("parts of other pictures")
        most = self.particles * (1 + ROUNDED)
        if any(value > most for step in self.steps for value in (*step.ess, *step.unique)):
            raise ValueError("more particles than there are")
        if max(self.picked) >= self.groups * self.particles:
            raise ValueError("a picture of no particle")
        return self

    def place(self, picture: int) -> tuple[int, int]:
        """Group and particle of a picture shown, from 0."""
        return divmod(self.picked[picture], self.particles)


class _Told(BaseModel):
    """What a run tells in words and single numbers, those that no label knows included."""

    model_config = STRICT | ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar]


class _Anchor(_Told):
    name: str = ""
    beta: Beta | None = None
    share: Number = 1
    masked: bool = False


class _Settings(_Told):
    """Of the sampler."""

    seed: Whole = 0
    steps: Whole = 0
    cfg: Number = 0
    sampler_name: str = ""
    scheduler: str = ""
    denoise: Number = 1


def _as_told(values: BaseModel) -> dict[str, Any]:
    return values.model_dump(exclude_unset=True)


class Traced(BaseModel):
    """A run's trace."""

    model_config = STRICT

    steps: Annotated[list[TracedStep], Field(min_length=1)]
    kl_reference: Values | None  # (B,), of the whole run, nats
    kl_anchors: list[Values | None]  # (K, B)
    anchors: list[Annotated[_Anchor, AfterValidator(_as_told)]] = []  # as dicts: name, beta, share, masked
    settings: Annotated[_Settings, AfterValidator(_as_told)] = {}  # a dict: seed, steps, cfg …
    etas: list[Number] = []  # of the reference, and of each anchor
    sweep: Swept | None = None
    model_calls: Number = 0
    model_calls_saved: Number = 0
    particles: TracedParticles | None = None  # of a run with a reward or a correction; only such a run has no anchor

    @model_validator(mode="after")
    def _is_of_one_run(self) -> Traced:
        anchors = len(self.steps[0].lambdas)
        per_anchor: list[Any] = [self.kl_anchors]
        per_picture: list[Any] = [self.kl_reference, *self.kl_anchors]
        if not anchors and self.particles is None:
            raise ValueError("nothing is mixed, nor are there particles")
        if self.sweep is not None:
            per_picture.append(self.sweep.cells)
        if self.particles is not None:
            per_picture.append(self.particles.picked)
            if len(self.particles.steps) != len(self.steps):
                raise ValueError("parts of different steps")
        for step in self.steps:
            per_anchor += [step.lambdas, step.kl_anchors]
            per_anchor += [step.lambdas_before_mask] if step.lambdas_before_mask is not None else []
            per_picture += [step.kl_reference, *step.kl_anchors, *step.lambdas, *(step.lambdas_before_mask or [])]
        if any(len(values) != anchors for values in per_anchor) or len(self.anchors) not in (0, anchors):
            raise ValueError("parts of different anchors")
        if len({step.lambdas_before_mask is None for step in self.steps}) > 1:
            raise ValueError("steps with and without masks")
        if not self.batch or any(values is not None and len(values) != self.batch for values in per_picture):
            raise ValueError("parts of different batches")
        return self

    @property
    def mixes(self) -> bool:
        """Whether there was an anchor, and so a λ."""
        return bool(self.steps[0].lambdas)

    @property
    def batch(self) -> int:
        """How many pictures the run made."""
        if self.mixes or self.particles is None:
            return len(self.steps[0].lambdas[0])
        return len(self.particles.picked)


class _WithoutSteps(BaseModel):
    """What is told of a MODEL that was never sampled."""

    steps: Annotated[list[Any], Field(max_length=0)]
    model_calls: float


def parse_trace(text: str) -> Traced:
    """The trace that is a JSON text. Raises ValueError, in one sentence, for a text that is no run's trace."""
    try:
        return Traced.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if wrong["type"] == "json_invalid":
        raise ValueError(NOT_A_TRACE.format("the text is not JSON"))
    if _holds_no_step(text):
        raise ValueError(NO_STEPS)
    place = ".".join(str(part) for part in wrong["loc"][:3] if not str(part).startswith("constrained"))
    where = f"“{place if len(place) <= 60 else place[:59] + '…'}” in it" if place else "the JSON"
    raise ValueError(NOT_A_TRACE.format(f"{where} is not that of a run"))


def _holds_no_step(text: str) -> bool:
    try:
        _WithoutSteps.model_validate_json(text)
    except ValidationError:
        return False
    return True
