"""A search for the best λ, as its node runs it: rounds of Realign Sampler's pictures, which rewards judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from einops import rearrange

from ..realign_core import Found, Search, Seen, Sweep, Trace
from .models.anchor import Anchors
from .models.latents import check_streams, shape_of, swept_latent
from .pictures.search_panels import as_told, search_words
from .reward.decoded import Decoder
from .reward.judge import Judge
from .reward.protocol import Reward, needs_prompt, scores
from .reward.rounds import Round, in_order, opened, save, seen_of
from .run.realignment import Realignment
from .sampled import sampled
from .types import Conditioning


@dataclass(frozen=True, eq=False)
class Runs:
    """Everything of a run but its λ."""

    model: ModelPatcher
    anchor: Anchors
    prompts: tuple[Conditioning, Conditioning]  # positive, negative
    latent: dict[str, Any]
    sweep: Sweep  # its rows; its λ are another round's each time
    sigmas: torch.Tensor
    etas: Sequence[float]
    settings: Mapping[str, Any]
    options: Mapping[str, Any]  # of the Realignment
    vae: Any
    reward: Reward
    second: Reward | None = None
    prompt: str = ""  # what the pictures should show, in place of the rows' own prompts

    def check(self) -> None:
        """Raises ValueError for what no picture could be made or judged of, before the first one is made."""
        check_streams(self.latent)
        if all(one.schedule is not None for one in self.anchor):
            raise ValueError(
                "Every connected anchor has a λ schedule of its own, which a search leaves as it is: take the schedule "
                "away from Anchor λ, or search the λ of another anchor."
            )
        texts = [self.prompt] if self.prompt.strip() or not self.sweep.prompts else self.sweep.prompts
        for reward in (self.reward, self.second):
            if reward is not None and needs_prompt(reward) and not all(text.strip() for text in texts):
                raise ValueError(
                    f"The reward “{reward.name}” compares pictures with a text, and there is none: type what they "
                    "should show into “prompt”."
                )
        Realignment.of(self.anchor, 0.0, self.sweep, **self.options)  # refuses a mask that is none
        decoder = Decoder(self.vae, self.model.model.process_latent_out)
        judge = Judge(self.reward, decoder, texts[0], self.second)
        judge.rehearse(tuple(shape_of(self.model, self.latent)[1:]), False)

    def round(self, lambdas: Sequence[float], note: str) -> Round:
        """All rows at these λ. note: stands on the node meanwhile."""
        sweep = replace(self.sweep, values=tuple(lambdas))
        realignment = Realignment.of(self.anchor, 0.0, sweep, **self.options)
        run = sampled(
            self.model,
            realignment,
            self.prompts,
            swept_latent(self.latent, sweep),
            self.sigmas,
            self.etas,
            self.settings,
            True,
            note,
        )
        comfy.model_management.throw_exception_if_processing_interrupted()
        samples, trace = run.latent["samples"], run.trace
        judged = [self._scores(one, samples, sweep) for one in (self.reward, self.second) if one is not None]
        nats = [torch.nan if value is None else value for value in trace.kl_reference()]
        numbers = torch.stack([judged[0], torch.tensor(nats, dtype=torch.float64), *judged[1:]], 1)
        return Round(sweep.values, samples.cpu(), trace, numbers)

    def _scores(self, reward: Reward, samples: torch.Tensor, sweep: Sweep) -> torch.Tensor:
        """(B,), fp64: of the pictures that VAE Decode gives."""
        images = self.vae.decode(samples)
        images = rearrange(images, "b t h w c -> (b t) h w c") if images.ndim == 5 else images
        texts: str | list[str] = self.prompt
        if not self.prompt.strip() and sweep.prompts:
            texts = [sweep.prompts[cell.prompt or 0] for cell in sweep.cells()]
        return scores(reward, images, texts).double().cpu()

    def shown(self, rounds: Sequence[Round]) -> tuple[dict[str, Any], Sweep, Trace]:
        """All pictures as one sweep, as Realign Sampler would give it."""
        values, latents, trace = in_order(rounds)
        sweep = replace(self.sweep, values=values)
        trace.info["sweep"] = sweep.to_dict()
        return {**swept_latent(self.latent, sweep), "samples": latents}, sweep, trace


@dataclass(frozen=True)
class Kept:
    """Where a search is kept. of: what decides its pictures, as a hash."""

    name: str
    of: str

    @classmethod
    def under(
        cls, name: str, graph: Mapping[str, Any] | None, node: str | None, inputs: Sequence[str], *more: Any
    ) -> Kept:
        """graph: the host's prompt, of which counts what these inputs of the node come from. more: JSON or tensors."""
        told = [_upstream(graph or {}, (graph or {}).get(node or "", {}).get("inputs", {}).get(one)) for one in inputs]
        tensors = [one for one in more if isinstance(one, torch.Tensor)]
        plain = [one for one in more if not isinstance(one, torch.Tensor)]
        found = hashlib.sha256(json.dumps([told, plain], sort_keys=True, default=str).encode())
        for tensor in tensors:
            found.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
        return cls(name, found.hexdigest())


def _upstream(graph: Mapping[str, Any], value: Any) -> Any:
    """An input's value, or all that makes it."""
    if not (isinstance(value, list) and len(value) == 2 and value[0] in graph):
        return value
    node = graph[value[0]]
    inputs = {name: _upstream(graph, own) for name, own in sorted(node.get("inputs", {}).items())}
    return [node.get("class_type"), value[1], inputs]


@dataclass(frozen=True, eq=False)
class Searched:
    """What came of a search."""

    search: Search
    seen: Seen
    found: Found
    why: str  # it ended; "" while it goes on
    beta: float | None  # the target; None: not known
    words: str

    @classmethod
    def so_far(cls, search: Search, seen: Seen, beta: float | None) -> Searched:
        """beta: the anchor's; None where no λ stands for one: not known, several anchors, or λ changes in a run."""
        found = search.found(seen)
        why, target = search.ended(seen, found), beta / found.lambda_ if beta and found.lambda_ > 0 else None
        return cls(search, seen, found, why, target, search_words(search, found, why, len(seen), target))

    def told(self) -> dict[str, Any]:
        return as_told(self.search, self.seen, self.found, self.why, self.beta)


def searched(search: Search, runs: Runs, columns: Sequence[int], kept: Kept | None) -> tuple[Searched, list[Round]]:
    """Round after round until the search ends, each kept as soon as it is there. columns: which of a picture's numbers
    the search is about."""
    rounds = opened(kept.name, kept.of, search.pairs) if kept else []
    runs.check()
    beta = runs.anchor[0].beta if len(runs.anchor) == 1 and runs.sweep.schedule is None else None
    now: Searched | None = None
    while True:
        seen = seen_of(rounds, columns)
        if not search.missing(seen):
            now = Searched.so_far(search, seen, beta)
        asked = search.missing(seen) if now is None else search.after(seen, now.found)
        if kept and rounds:
            save(kept.name, kept.of, rounds, now and now.told())
        if not asked and now is not None:
            return now, rounds
        rounds.append(runs.round([value for value, _ in asked], now.words if now else ""))
