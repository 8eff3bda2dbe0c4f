"""fewer_calls with samplers that look behind the guidance, and with layers that fold the batch."""

import logging

import comfy.model_base
import pytest
import torch
import toy_models
from truth import call, realign_guider, realign_sampler, sampled, show, sigmas_of

STEPS, CFG = 20, 2.0


def count_calls(monkeypatch):
    """Counts the models' calls from outside."""
    count, own = [0], comfy.model_base.BaseModel.apply_model

    def counted(self, *args, **kwargs):
        count[0] += 1
        return own(self, *args, **kwargs)

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", counted)
    return count


@pytest.mark.parametrize(
    "name", ["euler", "euler_cfg_pp", "euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep_cfg_pp"]
)
def test_it_saves_with_every_kind_of_sampler(name, monkeypatch, caplog):
    ours, count = (toy_models.toy_model(seed=1), toy_models.toy_model(seed=2)), count_calls(monkeypatch)
    caplog.set_level(logging.INFO)
    guider = realign_guider(*ours, toy_models.CONDS, 0.5, CFG, fewer_calls="difference reuse", calls_per_step=1.2)
    sampled(guider, toy_models.latent(1), name, sigmas_of(ours[0], STEPS, "normal", name))
    show(f"fewer calls, {name}", f"{count[0]} calls in {STEPS} steps", f"<= {1.3 * STEPS:g} calls")
    assert count[0] <= 1.3 * STEPS
    assert "saved" in caplog.text


def test_control_variate_in_a_sweep_where_a_layer_folds_the_batch():
    """As it does with one λ: sampled one by one, or refused in a sentence."""
    base = toy_models.toy_model(toy_models.PixelsFirst)
    anchor_model, conds = toy_models.with_lora(base), toy_models.CONDS
    batch, sweep = call("RealignSweep", latent=toy_models.latent(1), values="list", start=0.0, end=1.0, count=2,
                        listed="0.3, 0.6, 0.9", seeds=1, rows="seed", row_values="")  # fmt: skip
    options = dict(fewer_calls="control variate", calls_per_step=1.5)
    problem = ""
    try:
        out = realign_sampler(base, anchor_model, conds, batch, 0.5, 6, CFG, lambda_schedule=sweep, **options)[0]
    except Exception as error:
        problem = f"{type(error).__name__}({str(error)!r})"
        clear = isinstance(error, ValueError) and len(str(error).split()) > 5
    else:
        clear = bool(torch.isfinite(out["samples"]).all())
    show("control variate in a sweep, folded batch", problem or "sampled", "sampled, or a ValueError with a sentence")
    assert clear
    assert not base.model.diffusion_model.layer._forward_hooks
