"""The plan of a study: a YAML file, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import PlanError
from .prompts import Prompt, Value, read_prompts
from .yaml_lines import Document

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)
LARGEST_SEED = 2**64 - 1  # what the host's seed widgets take
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w .+-]+$")]
Lambda = Annotated[float, Field(ge=-10, le=10)]  # the node's own bounds are the host's to check
Beta = Annotated[float, Field(gt=0, le=1e9)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _address(url: str) -> str:
    """“127.0.0.1:8188” is one too."""
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address is such as http://127.0.0.1:8188")
    if parts.username or parts.password:
        raise ValueError("an address holds no user or password: it is written into the table")
    return url.rstrip("/")


def _folder_name(name: str) -> str:
    if not re.search(r"\w", name):
        raise ValueError("a study's name has a letter or a digit, as its folder is called so")
    return name


def _cluster(address: str) -> str:
    if not re.fullmatch(r"local|auto|(ray://)?[^/\s]+:\d+", address):
        raise ValueError("an address is such as ray://head:10001 or head:6379, or auto, or local")
    return address


def _listed(value: Any) -> Any:
    """One value stands for a list of it."""
    return value if isinstance(value, list) else [value]


class Prompts(BaseModel):
    """Prompts of a file, or some of them."""

    model_config = STRICT
    file: str
    first: Count | None = None  # how many, from the top


class PromptLine(BaseModel):
    """A prompt with more inputs of the workflow, by their names."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)
    __pydantic_extra__: dict[str, Value]
    prompt: str

    def read(self) -> Prompt:
        return Prompt(self.prompt, dict(self.__pydantic_extra__))


class LambdaRange(BaseModel):
    """`count` values from `from` to `to`, both included."""

    model_config = STRICT
    start: Lambda = Field(alias="from")
    end: Lambda = Field(alias="to")
    count: Annotated[int, Field(ge=2, le=10_000)]


class Betas(BaseModel):
    """KL strengths to be had: λ is the anchor's β over each."""

    model_config = STRICT
    betas: Annotated[list[Beta], Field(min_length=1)]


class SeedRange(BaseModel):
    """`count` seeds, the same for all prompts, or of each prompt's `own`, on from where those of the one before end."""

    model_config = STRICT
    start: Seed = Field(0, alias="from")
    count: Count
    own: bool = False


class Anchor(BaseModel):
    """An anchor file, by the name that Load Anchor Model has for it."""

    model_config = STRICT
    name: str | None = None  # None: the workflow's own
    beta: Beta | None = None  # what it was trained with; None: as the workflow or its file says


Resource = Annotated[float, Field(ge=0, le=1024)]


class Actors(BaseModel):
    """Ray actors of one stage. Each starts a ComfyUI of its own on the node that Ray gives it."""

    model_config = STRICT
    actors: Annotated[int, Field(ge=1, le=10_000)] = 1
    num_cpus: Resource = 1.0  # of each
    num_gpus: Resource | None = None  # of each, 0.5 for two on a card; None: 1 where the cluster has any, else 0
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}  # more that a node must have, as Ray names it


class OnRay(Actors):
    """Those that make pictures, and where they run."""

    address: Annotated[str, AfterValidator(_cluster)] = "local"
    scoring: Actors | None = None  # those of `realign score`; None: as those that make pictures
    max_restarts: Annotated[int, Field(ge=-1)] = 3  # of an actor that was lost with its node or process; -1: always
    max_task_retries: Annotated[int, Field(ge=0, le=100)] = 1  # of a row on the same actor, with its ComfyUI anew
    place_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 5.0  # until an actor that Ray places nowhere is given up


class Hosts(BaseModel):
    """Where the pictures are made. All left out: the ComfyUI that runs on this machine's port 8188."""

    model_config = STRICT
    servers: Annotated[list[Annotated[str, AfterValidator(_address)]], BeforeValidator(_listed)] = []
    comfyui: str | None = None  # a ComfyUI's folder: one is started from it, and ended with the study
    python: str | None = None  # its interpreter; None: the one beside it, else this one
    args: list[str] = []  # more arguments of its main.py
    row_minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] = 30.0  # for one row; who takes longer hangs
    patience: Annotated[float, Field(gt=0, le=3600)] = 60.0  # seconds until a host that does not answer is given up
    ray: OnRay | None = None  # with back_end: ray, which starts `comfyui` on the cluster's nodes

    @model_validator(mode="after")
    def _one_kind(self) -> Hosts:
        if self.servers and self.comfyui:
            raise ValueError("name servers, or a comfyui to be started, not both")
        if len(set(self.servers)) < len(self.servers):
            raise ValueError("a server is named twice")
        return self


class SearchPlan(BaseModel):
    """Which λ `realign search` looks for."""

    model_config = STRICT
    reward: Name  # of the plan's rewards: its mean over prompts and seeds is to be largest
    start: Lambda = Field(0.0, alias="from")
    end: Lambda = Field(1.5, alias="to")
    kl_budget: Annotated[float, Field(gt=0)] | None = None  # nats, in the mean
    second: Name | None = None  # a reward that must not fall below its mean at λ 0
    may_fall: Annotated[float, Field(ge=0)] = 0.0  # by how much it may all the same, in its own units
    most: Count = 256  # pictures for each anchor and setting
    precision: Annotated[float, Field(gt=0, le=1)] = 0.05  # half the interval at which it ends
    at_once: Annotated[int, Field(ge=0)] = 0  # pairs of prompt and seed of a round; 0: all


class Outputs(BaseModel):
    """Where in the workflow things come out, where it cannot be told from the workflow itself."""

    model_config = STRICT
    picture: str | None = None  # the node that saves or previews it, or “node.output”
    trace: str | None = None  # “node.output” of a trace


Setting = dict[str, Value]


class Plan(BaseModel):
    """What a plan file holds."""

    model_config = STRICT
    study: Annotated[Name, AfterValidator(_folder_name)]
    workflow: str  # a shared workflow's title, or a file in API format
    prompts: str | Prompts | Annotated[list[str | PromptLine], Field(min_length=1)]
    anchors: Annotated[list[str | Anchor], Field(min_length=1), BeforeValidator(_listed)] = [Anchor()]
    lambdas: Annotated[list[Lambda], Field(min_length=1)] | LambdaRange | Betas = Field(alias="lambda")
    seeds: Annotated[list[Seed], Field(min_length=1)] | SeedRange = [0]
    settings: Annotated[list[Setting], Field(min_length=1), BeforeValidator(_listed)] = [{}]
    inputs: dict[str, str | list[str]] = {}  # where the workflow takes something: name → “node.input”
    outputs: Outputs = Outputs()
    rewards: dict[Name, dict[str, Any]] = {}
    search: SearchPlan | None = None
    hosts: Hosts = Hosts()
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]] = {}  # model file → its SHA-256
    out: str | None = None  # the study's folder; None: beside the plan, by the study's name
    seconds_per_call: Annotated[float, Field(gt=0)] | None = None  # for --dry-run, until rows have been timed
    back_end: Literal["servers", "ray"] = "servers"
    measure_ends: bool = True  # ask the reference at λ 1 too, which costs its calls, so that KL is known there

    def lambdas_of(self, anchor: Anchor) -> list[float]:
        """In the plan's order. Raises ValueError where an anchor's β is wanted and not known."""
        wanted = self.lambdas
        if isinstance(wanted, LambdaRange):
            step = (wanted.end - wanted.start) / (wanted.count - 1)
            return [*(round(wanted.start + step * i, 9) for i in range(wanted.count - 1)), wanted.end]
        if isinstance(wanted, Betas):
            if anchor.beta is None:
                raise ValueError(f"“betas” need the β of every anchor: give {anchor.name or 'the anchor'} its beta")
            return [round(anchor.beta / beta, 9) for beta in wanted.betas]
        return list(wanted)

    def all_anchors(self) -> list[Anchor]:
        return [Anchor(name=anchor) if isinstance(anchor, str) else anchor for anchor in self.anchors]

    @property
    def shares_seeds(self) -> bool:
        """Whether all prompts have the same."""
        return not (isinstance(self.seeds, SeedRange) and self.seeds.own)

    def seeds_of(self, prompt: int) -> list[int]:
        """Of the prompt at this place; as many for each."""
        if not isinstance(self.seeds, SeedRange):
            return list(self.seeds)
        start = self.seeds.start + (prompt * self.seeds.count if self.seeds.own else 0)
        return list(range(start, start + self.seeds.count))


class PlanFile:
    """A plan with what it refers to: `plan`, `prompts`, `path`, `folder` (the study's)."""

    def __init__(self, path: Path, out: Path | None = None):
        """Raises PlanError, with file and line, for the first thing that is wrong."""
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise PlanError(f"The plan {path} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise PlanError(f"The plan {path} is not UTF-8: save it as UTF-8.") from None
        self.document = Document(text, path.name)
        if not isinstance(self.document.value, dict):
            raise PlanError(
                f"{path.name}: a plan is lines such as “study: name”; `realign study --example` writes one."
            )
        try:
            self.plan = Plan.model_validate(self.document.value)
        except ValidationError as error:
            raise self._sentence(error) from None
        self._check_values()
        self.prompts = self._read_prompts()
        if max(self.plan.seeds_of(len(self.prompts) - 1)) > LARGEST_SEED:
            raise self.wrong(("seeds",), f"seeds go up to {LARGEST_SEED}.")
        self.folder = out or self.near(self.plan.out or re.sub(r"\s+", "-", self.plan.study.strip()))

    def near(self, name: str) -> Path:
        """A path that the plan names, from where the plan lies."""
        return self.path.parent / Path(name).expanduser()

    def wrong(self, place: tuple[str | int, ...], sentence: str) -> PlanError:
        return self.document.wrong(place, sentence)

    def _read_prompts(self) -> list[Prompt]:
        named = self.plan.prompts
        if isinstance(named, list):
            found = [Prompt(one) if isinstance(one, str) else one.read() for one in named]
        else:
            wanted = Prompts(file=named) if isinstance(named, str) else named
            found = read_prompts(self.near(wanted.file))
            if wanted.first is not None:
                if wanted.first > len(found):
                    raise self.wrong(("prompts", "first"), f"there are only {len(found)} prompts in {wanted.file}.")
                found = found[: wanted.first]
        return found

    def _check_values(self) -> None:
        plan = self.plan
        try:
            for anchor in plan.all_anchors():
                self._twice("lambda", plan.lambdas_of(anchor))
        except ValueError as error:
            raise self.wrong(("lambda",), f"{error}.") from None
        self._twice("anchors", [anchor.name for anchor in plan.all_anchors()])
        self._twice("seeds", plan.seeds_of(0))
        self._check_back_end()
        self._twice("settings", [tuple(sorted(setting.items())) for setting in plan.settings])

    def _check_back_end(self) -> None:
        hosts = self.plan.hosts
        if self.plan.back_end == "ray" and hosts.servers:
            raise self.wrong(
                ("hosts", "servers"),
                "with back_end: ray each actor starts a ComfyUI of its own: name its folder on the nodes as comfyui in "
                "place of servers, or leave back_end out.",
            )
        if self.plan.back_end != "ray" and hosts.ray is not None:
            raise self.wrong(
                ("hosts", "ray"),
                "this has an effect only with back_end: ray: add that line to the plan, or remove ray.",
            )

    def _twice(self, name: str, values: Iterable[Hashable]) -> None:
        seen = set()
        for place, value in enumerate(values):
            if value in seen:
                raise self.wrong((name, place), f"{name}: {value} stands there twice; leave one.")
            seen.add(value)

    def _sentence(self, error: ValidationError) -> PlanError:
        """The first error, at its line. Of a value that may be of several kinds, the kind that came farthest."""
        errors = error.errors(include_url=False)
        first = errors[0]["loc"][:1]
        found = max((one for one in errors if one["loc"][:1] == first), key=self._farness)
        place = self._place(found)
        name = ".".join(map(str, place)) or "the plan"
        known = ", ".join(sorted(field.alias or key for key, field in Plan.model_fields.items()))
        said = {
            "extra_forbidden": f"{name} is not known here" + (f"; a plan has {known}." if len(place) == 1 else "."),
            "missing": f"{name} is missing.",
        }.get(found["type"], f"{name}: {plain(found)}.")
        return self.wrong(place, said)

    def _place(self, error: Any) -> tuple[int | str, ...]:
        """Of pydantic's path what stands in the document, and what is missing there; it also names the kinds tried."""
        place: list[int | str] = []
        value: Any = self.document.value
        for index, part in enumerate(error["loc"]):
            missing = error["type"] == "missing" and index == len(error["loc"]) - 1
            if isinstance(value, dict) and (part in value or missing):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                continue
            place.append(part)
        return tuple(place)

    def _farness(self, error: Any) -> tuple[int, bool]:
        """How deep an error is, and whether it is more than that the value is of another kind."""
        return len(self._place(error)), error["type"] not in ("string_type", "list_type", "dict_type", "model_type")


def plain(error: Any) -> str:
    """One of pydantic's errors in words."""
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = error["input"]
    told = f", not {shown!r}" if isinstance(shown, (str, int, float, bool)) or shown is None else ""
    return f"{message[:1].lower()}{message[1:]}{told}"
