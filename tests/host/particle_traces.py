"""Traces of runs with particles, built by hand."""

from __future__ import annotations


def record(groups=1, particles=4, steps=8, shown=None, reward="colourfulness", held_out=None, **own):
    """A trace's “particles”. The reward rises by 20 and differs between groups, the held-out one rises by 0.3.

    own: whatever else is to be in it, in place of what there is.
    """
    shown = [(m * particles + m % particles) for m in range(groups)] if shown is None else shown

    def step(i):
        at = i / max(steps - 1, 1)
        told = {
            "ess": [1 + (particles - 1) * (0.2 + 0.1 * ((i + m) % 3)) for m in range(groups)],
            "unique": [max(1, round(particles * (1 - 0.5 * at))) for _ in range(groups)],
        }
        if reward:
            told["tau"] = [at] * groups
            told["reward"] = [40 + 20 * at + m for m in range(groups)]
            told["reward_drawn"] = [43 + 20 * at + k for k in range(len(shown))]
        if held_out:
            told["held_out"] = [0.25 + 0.3 * at + m / 8 for m in range(groups)]
            told["held_out_drawn"] = [0.5 + 0.3 * at for _ in shown]
        return told

    return {
        "reward": reward,
        "held_out": held_out,
        "strength": 2.5 if reward else None,
        "corrected": False,
        "groups": groups,
        "particles": particles,
        "pick": "draw",
        "picked": shown,
        "log_z": [0.25 * m for m in range(groups)],
        "kl": [0.5 + 0.25 * m for m in range(groups)] if reward else None,
        "scores": [63.0 + k for k in range(len(shown))] if reward else None,
        "weights": [1 / particles] * len(shown),
        "held_out_scores": [0.5 + k / 8 for k in range(len(shown))] if held_out else None,
        "steps": [step(i) for i in range(steps)],
        **own,
    }


def with_series(reward, held_out, **options):
    """A record whose rewards are these, (T, M)."""
    told = record(len(reward[0]), steps=len(reward), held_out="other", **options)
    for step, own, other in zip(told["steps"], reward, held_out):
        step |= {"reward": [*own], "held_out": [*other]}
    return told


def trace(told, anchors=0):
    """The trace, as a dict, of a run with that record and so many anchors."""
    pictures, steps = len(told["picked"]), len(told["steps"])

    def models(reference, anchor):
        return {
            "kl_reference": [reference if anchors else 0.0] * pictures,
            "kl_anchors": [[anchor] * pictures] * anchors,
        }

    def step(i):
        sigmas = {"sigma": float(steps - i), "sigma_next": steps - i - 1.0, "model_calls": 2.0, "correction": None}
        return sigmas | {"lambdas": [[0.5] * pictures] * anchors} | models(0.5, 0.25)

    settings = {"seed": 7, "steps": steps, "cfg": 5.0, "sampler_name": "ddpm", "scheduler": "normal", "denoise": 1.0}
    return {
        "anchors": [{"name": f"anchor {k}", "beta": 500.0, "share": 1.0} for k in range(anchors)],
        "etas": [1.0] * (anchors + 1),
        "settings": settings,
        "model_calls": 2.0 * steps,
        "model_calls_saved": 0.0,
        **models(0.5 * steps, 0.25 * steps),
        "steps": [step(i) for i in range(steps)],
        "particles": told,
    }
