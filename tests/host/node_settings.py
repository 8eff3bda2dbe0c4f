"""A node on a model of a stage, with its inputs at their defaults, or as near to their ends as a picture allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import networks
import torch
from comfy.nested_tensor import NestedTensor
from host_nodes import WIDGETS, default, extreme, inputs_of, model_input, model_nodes, model_of, run
from networks import drawn
from node_cases import RECIPES, Recipe, Stage, Vae, lora_weights, picture
from rounding import distance
from truth import sigmas_of, stock_guider

SHOWS = 1e-3  # standard deviations by which a node must change the stock picture
MILLIONTH, STEADY = 1e-6, 5e-5  # a picture that this part more noise moves by more than STEADY shows rounding only
WAYS = (1.0, 0.3)  # how far an input goes from its default to its end, where the whole way ends in no picture
MANY = 8  # inputs, of which none is tried by itself


@dataclass(frozen=True)
class Placed:
    """What a node gave for a model: the MODEL, and what else goes into the sampler."""

    model: Any
    conds: list[Any]
    latent: dict[str, Any]


@dataclass
class Setting:
    """A node with inputs that show something."""

    node: str
    stage: Stage
    inputs: dict[str, Any]
    idle: bool = False  # the node gives the MODEL on as it is
    cls: type = field(init=False)
    recipe: Recipe = field(init=False)

    def __post_init__(self) -> None:
        self.cls, self.recipe = model_nodes()[self.node], RECIPES.get(self.node, Recipe())

    def on(self, model: Any) -> Placed:
        outputs = run(self.cls, {model_input(self.cls): model, **self.inputs})
        named = dict(zip(self.cls.RETURN_TYPES, outputs))
        conds = [out for kind, out in zip(self.cls.RETURN_TYPES, outputs) if kind == "CONDITIONING"]
        latent = self.recipe.latent(named.get("LATENT", self.stage.latent))
        return Placed(model if self.idle else model_of(self.cls, outputs), conds or self.stage.conds, latent)


def picture_of(placed: Placed, recipe: Recipe, times: float = 1.0, noises: Sequence[int] = ()) -> dict[str, Any]:
    """LATENT of a stock run. times: what its noise is multiplied by. noises: a seed for each element of the batch."""
    samples = placed.latent["samples"]
    parts = samples.unbind() if samples.is_nested else [samples]
    if noises:
        made = [torch.stack([drawn(seed)(*part.shape[1:]) for seed in noises]) for part in parts]
    else:
        made = [times * drawn(7)(*part.shape) for part in parts]
    empty = [part[:1].expand(made.shape) for part, made in zip(parts, made)] if noises else parts
    noise, latent = (NestedTensor(list(of)) if samples.is_nested else of[0] for of in (made, empty))
    torch.manual_seed(11)
    guider, euler = stock_guider(placed.model, placed.conds, recipe.cfg), comfy.samplers.sampler_object("euler")
    sigmas, mask = sigmas_of(placed.model, recipe.steps), placed.latent.get("noise_mask")
    return {"samples": guider.sample(noise, latent, euler, sigmas, mask, seed=11, disable_pbar=True)}


def changes(setting: Setting) -> float:
    """By how many standard deviations the node moves the stock picture; nan for one that is not finite or steady."""
    model, recipe = setting.stage.model("reference"), setting.recipe
    try:
        placed = setting.on(model)
        got = picture_of(placed, recipe)
        moved = distance(got, picture_of(Placed(model, placed.conds, placed.latent), recipe))
        if moved > SHOWS and distance(picture_of(placed, recipe, 1 + MILLIONTH), got) > STEADY:
            return float("nan")
        return moved
    except Exception:  # the host's nodes raise whatever they like at senseless values
        return float("nan")


def settings(node: str, stage: Stage) -> dict[str, Setting]:
    return {"default": at_defaults(node, stage)} | {end: at_end(node, stage, end == "high") for end in ("low", "high")}


def at_defaults(node: str, stage: Stage) -> Setting:
    """Raises LookupError for a node that needs an input of a kind that the tests do not make."""
    cls, recipe = model_nodes()[node], RECIPES.get(node, Recipe())
    given = dict(recipe.given(stage) if callable(recipe.given) else recipe.given)
    others: Callable[[str], Any] | None = given.pop("others", None)
    inputs: dict[str, Any] = {}
    for name, kind, options, required in inputs_of(cls):
        if name == model_input(cls):
            continue
        if name in given:
            inputs[name] = given[name]
        elif kind in WIDGETS:
            inputs[name] = others(name) if others and kind == "FLOAT" else default(kind, options)
        elif required:
            inputs[name] = made(kind, name, stage)
    return Setting(node, stage, inputs)


def at_end(node: str, stage: Stage, high: bool) -> Setting | None:
    """Every number, switch and choice at its end; where that shows nothing, each as far as it can go."""
    base = at_defaults(node, stage)
    ends = {
        name: extreme(kind, options, high)
        for name, kind, options, _ in inputs_of(base.cls)
        if kind in ("INT", "FLOAT", "BOOLEAN", "COMBO") and name in base.inputs and not _fixed(base, name)
    }
    ends = {name: value for name, value in ends.items() if value is not None and value != base.inputs[name]}
    if not ends:
        return None
    all_at_once = Setting(node, stage, base.inputs | ends)
    if changes(all_at_once) > SHOWS:
        return all_at_once
    best = base
    for name, value in ends.items() if len(ends) <= MANY else ():
        for part in WAYS if isinstance(value, float) else (1.0,):
            nearer = base.inputs[name] + part * (value - base.inputs[name]) if part < 1 else value
            tried = Setting(node, stage, best.inputs | {name: nearer})
            if changes(tried) > SHOWS:
                best = tried
                break
    return best if best.inputs != base.inputs else None


def _fixed(setting: Setting, name: str) -> bool:
    """Whether the recipe's value for an input is one of a file, a size or a layer, which has no ends."""
    return name in setting.recipe.fixed or (isinstance(setting.inputs[name], str) and name.endswith("_name"))


def made(kind: str, name: str, stage: Stage) -> Any:
    """Of an input's type, what a wire would bring."""
    prompts = dict(zip(("positive", "negative"), stage.conds))
    makers: Mapping[str, Callable[[], Any]] = {
        "MODEL": lambda: stage.model("third"),
        "CONDITIONING": lambda: prompts.get(name) or networks.conditioning(stage.network, 3),
        "LATENT": lambda: stage.latent,
        "LATENT_OPERATION": lambda: lambda latent, **_: latent * 0.8,
        "IMAGE": picture,
        "MASK": lambda: drawn(22)(1, 64, 64).sigmoid(),
        "VAE": lambda: Vae(stage.network.latent[0]),
        "AUDIO": lambda: {"waveform": drawn(24)(1, 2, 4000), "sample_rate": 16000},
        "LORA_MODEL": lambda: lora_weights(stage),
    }
    if kind not in makers:
        raise LookupError(f"the tests make no {kind} for the input “{name}”: see node_settings.py and node_cases.py")
    return makers[kind]()
