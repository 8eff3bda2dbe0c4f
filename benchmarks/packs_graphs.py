"""The graphs that packs.py runs: a node of a pack at each place where it can stand, with Realign and without.

A graph is in the host's API format: {id: {"class_type": …, "inputs": {name: value, or [id, output]}}}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Graph = dict[str, dict[str, Any]]
Link = list[Any]  # [id, output]
Description = dict[str, Any]  # of a node, as /object_info gives it

STEPS, CFG, LAMBDA, SIZE = 5, 4.0, 0.45, 128  # SIZE: px; latents of 16²
ANCHORS = ("full", "LoRA")
BEFORE, BEHIND, GUIDES, SAMPLER, SAMPLES, PROMPT = (
    "before Realign",
    "behind Realign MODEL",
    "guider of Realign MODEL",
    "sampler of Realign MODEL",
    "samples Realign MODEL",
    "prompt of Realign MODEL",
)
GIVES = {GUIDES: "GUIDER", SAMPLER: "SAMPLER", SAMPLES: "LATENT", PROMPT: "CONDITIONING"}  # others give a MODEL
# Widgets that are not left at their defaults, by name: so that runs are short and cfg is not 1.
WIDGETS: dict[str, Any] = {
    "steps": STEPS, "cfg": CFG, "denoise": 1.0, "seed": 7, "noise_seed": 7,
    "sampler_name": "euler", "scheduler": "simple",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A node of a pack at one place."""

    node: str
    place: str = ""
    kind: str = "sd15"
    inputs: dict[str, Any] = field(default_factory=dict)  # that are not the defaults; "@name" is a node of `also`
    also: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # nodes that it needs, and their inputs


@dataclass
class Builder:
    """Adds nodes to a graph under construction."""

    case: Case
    known: dict[str, Description]
    graph: Graph = field(default_factory=dict)
    _wanted: list[str] = field(default_factory=list)  # kinds of sockets for which a node is being looked for

    def add(self, class_type: str, **inputs: Any) -> Link:
        """A link to the node's first output."""
        name = str(len(self.graph))
        self.graph[name] = {"class_type": class_type, "inputs": inputs}
        return [name, 0]

    def loaded(self, which: str) -> Link:
        return self.add("CheckpointLoaderSimple", ckpt_name=f"{self.case.kind}_{which}.safetensors")

    def prompt(self, seed: int) -> Link:
        return self.add("ProbePrompt", kind=self.case.kind, seed=seed)

    def latent(self) -> Link:
        empty = "EmptyLatentImage" if self.case.kind in ("sd15", "sdxl") else "EmptySD3LatentImage"
        return self.add(empty, width=SIZE, height=SIZE, batch_size=1)

    def vae(self) -> Link:
        return self.add("VAELoader", vae_name="small.safetensors")

    def noise(self) -> Link:
        return self.add("RandomNoise", noise_seed=WIDGETS["noise_seed"])

    def sigmas(self, model: Link) -> Link:
        return self.add("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=1.0)

    def lora(self, model: Link) -> Link:
        name = f"{self.case.kind}.safetensors"
        return self.add("LoraLoaderModelOnly", model=model, lora_name=name, strength_model=0.7)

    def node(self, model: Link | None) -> Link:
        """The case's node: its first output of the kind that its place asks for; a picture is encoded.

        Raises KeyError with a type of socket that nothing here gives.
        """
        link = self.filled(self.case.node, self.case.inputs, model)
        gives, wanted = self.known[self.case.node]["output"], GIVES.get(self.case.place, "MODEL")
        if wanted == "LATENT" and wanted not in gives:
            return self.add("VAEEncode", pixels=[link[0], gives.index("IMAGE")], vae=self.vae())
        return [link[0], gives.index(wanted)]

    def filled(self, class_type: str, own: dict[str, Any], model: Link | None) -> Link:
        """A node with its widgets at their defaults and what it wants in its sockets. own: inputs that are not so."""
        inputs = {}
        for group in ("required", "optional"):
            for name, spec in (self.known[class_type]["input"].get(group) or {}).items():
                if name not in own:
                    value = self._value(name, spec, model, group == "required")
                    inputs |= {} if value is None else {name: value}
        return self.add(class_type, **inputs, **{name: self._own(value, model) for name, value in own.items()})

    def _own(self, value: Any, model: Link | None) -> Any:
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        class_type, inputs = self.case.also[value[1:]]
        return self.filled(class_type, inputs, model)

    def _value(self, name: str, spec: list[Any], model: Link | None, required: bool) -> Any:
        kind, settings = spec[0], (spec[1] if len(spec) > 1 else None) or {}
        if isinstance(kind, list) or kind == "COMBO":
            options = kind if isinstance(kind, list) else settings.get("options") or []
            first = settings.get("default", options[0] if options else "")
            wanted = WIDGETS.get(name, first)
            return wanted if wanted in options else first
        if kind in ("INT", "FLOAT", "STRING", "BOOLEAN"):
            if settings.get("forceInput"):
                return self._missing(kind, required)
            empty = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[kind]
            return WIDGETS.get(name, settings.get("default", empty))
        sockets = {
            "MODEL": lambda: model,
            "CONDITIONING": lambda: self.prompt(52 if "neg" in name else 51),
            "LATENT": self.latent,
        }
        if required:
            sockets |= {
                "SIGMAS": lambda: self.sigmas(model or self.loaded("reference")),
                "NOISE": self.noise,
                "SAMPLER": lambda: self.add("KSamplerSelect", sampler_name="euler"),
                "MASK": lambda: self.add("SolidMask", value=0.6, width=SIZE, height=SIZE),
                "IMAGE": lambda: self.add("EmptyImage", width=SIZE, height=SIZE, batch_size=1, color=0x40A0E0),
                "VAE": self.vae,
                "CONTROL_NET": lambda: self.add("ControlNetLoader", control_net_name="sd15_control.safetensors"),
            }
        return sockets[kind]() if kind in sockets else self._missing(kind, required)

    def _missing(self, kind: str, required: bool) -> Link | None:
        """For a socket of a kind that no node of the host's gives: a node of the same pack that does, as it comes."""
        if not required or kind in self._wanted:
            return self._none(kind, required)
        pack = self.known[self.case.node]["python_module"]
        for name, about in self.known.items():
            if about["python_module"] == pack and about["output"][:1] == [kind]:
                self._wanted.append(kind)
                try:
                    return self.filled(name, {}, None)
                except KeyError:
                    continue
                finally:
                    self._wanted.pop()
        return self._none(kind, required)

    @staticmethod
    def _none(kind: str, required: bool) -> None:
        if required:
            raise KeyError(kind)

    def sampled(self, model: Link, positive: Link | None = None) -> Link:
        """LATENT of a plain KSampler."""
        return self.add(
            "KSampler", model=model, positive=positive or self.prompt(51), negative=self.prompt(52),
            latent_image=self.latent(), seed=7, steps=STEPS, cfg=CFG, sampler_name="euler", scheduler="simple",
            denoise=1.0,
        )  # fmt: skip

    def custom(self, model: Link, guider: Link | None, sampler: Link | None) -> Link:
        """LATENT of SamplerCustomAdvanced."""
        guider = guider or self.add(
            "CFGGuider", model=model, positive=self.prompt(51), negative=self.prompt(52), cfg=CFG
        )
        sampler = sampler or self.add("KSamplerSelect", sampler_name="euler")
        return self.add(
            "SamplerCustomAdvanced", noise=self.noise(), guider=guider, sampler=sampler, sigmas=self.sigmas(model),
            latent_image=self.latent(),
        )  # fmt: skip

    def used(self, model: Link) -> Link:
        """LATENT of a MODEL, by the pack's node where that samples or guides."""
        if self.case.place == GUIDES:
            return self.custom(model, self.node(model), None)
        if self.case.place == SAMPLER:
            return self.custom(model, None, self.node(None))
        if self.case.place == SAMPLES and self.case.node:
            return self.node(model)
        return self.sampled(model, self.node(model) if self.case.place == PROMPT else None)


def places(described: Description) -> list[str]:
    """Where a node can stand, by its sockets."""
    takes = {
        spec[0] if isinstance(spec[0], str) else "COMBO"
        for group in ("required", "optional")
        for spec in (described["input"].get(group) or {}).values()
    }
    gives = {kind for kind in described["output"] if isinstance(kind, str)}  # a list: the choices of a COMBO
    if {"MODEL", "CONDITIONING"} <= takes and takes & gives & {"LATENT", "IMAGE"}:
        return [SAMPLES]
    if "MODEL" in takes and "MODEL" in gives:
        return [BEFORE, BEHIND]
    if "MODEL" in takes and "GUIDER" in gives:
        return [GUIDES]
    return [SAMPLER] if "SAMPLER" in gives and "MODEL" not in takes else []


def stock(
    case: Case, known: dict[str, Description], anchor: str, side: str, port: int, disturbed: float = 0.0
) -> Graph:
    """A whole run of one of the two models, in lockstep with the other's. Without a node: case.node is ""."""
    build = Builder(case, known)
    patched = bool(case.node) and case.place in (BEFORE, BEHIND)
    model = build.loaded("anchor" if side == "anchor" and anchor == "full" else "reference")
    loras = side == "anchor" and anchor == "LoRA"
    if loras and case.place == BEHIND:
        model = build.lora(model)
    if patched:
        model = build.node(model)
    if loras and case.place != BEHIND:
        model = build.lora(model)
    swapped = build.add("ProbeSwap", model=model, weight=LAMBDA, side=side, port=port, disturbed=disturbed)
    return saved(build, build.used(swapped))


def realigned(case: Case, known: dict[str, Description], anchor: str) -> Graph:
    """The same by Realign MODEL."""
    build = Builder(case, known)
    patch = build.node if case.node and case.place == BEFORE else lambda model: model
    reference = patch(build.loaded("reference"))
    other = build.lora(reference) if anchor == "LoRA" else patch(build.loaded("anchor"))
    anchors = build.add("RealignAnchorFromModel", model=other, beta_source="unknown / no KL term", beta=1.0)
    model = build.add("RealignModel", model=reference, anchor=anchors, **{"lambda_": LAMBDA})
    if case.node and case.place == BEHIND:
        model = build.node(model)
    return saved(build, build.used(model))


def saved(build: Builder, latent: Link) -> Graph:
    build.graph["saved"] = {"class_type": "SaveLatent", "inputs": {"samples": latent, "filename_prefix": "probe"}}
    return build.graph
