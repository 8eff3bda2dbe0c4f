"""What is no error, and yet makes λ = 1 another picture than the anchor's own, is said once in the log."""

import logging

import pytest
import tiny_models
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, ModelSamplingSD3
from host_runs import conds_of
from patched_pairs import LAMBDA, with_lora
from safetensors.torch import save_file
from truth import k_sampled, realign_model

FADES, LEVELS = "carries a LoRA (or other weight patches) that the anchor", "has another noise schedule than the"


def said(caplog, reference, anchor, kind="sd15", lam=LAMBDA, after=lambda model: model):
    """The notes of two runs of one graph."""
    caplog.clear()
    model = after(realign_model(reference, anchor, lam))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            k_sampled(model, conds_of(kind), tiny_models.latent(kind), 1, "euler")
    return [line for line in caplog.messages if "Realign: The" in line]


@pytest.fixture
def pair(tiny):
    return tiny.load(tiny.reference("sd15")), tiny.load(tiny.anchor("sd15"))


def test_nothing_is_said_of_a_pair(tiny, pair, caplog):
    assert not said(caplog, *pair)
    assert not said(caplog, pair[0], with_lora(tiny, pair[0], "sd15"))
    assert not said(caplog, *(with_lora(tiny, one, "sd15", 1) for one in pair))


@pytest.mark.parametrize("lam", [LAMBDA, 1.0])
def test_a_lora_on_the_reference_alone(tiny, pair, caplog, lam):
    styled = with_lora(tiny, pair[0], "sd15", 1)
    for anchor in (pair[1], with_lora(tiny, pair[0], "sd15")):
        (note,) = said(caplog, styled, anchor, lam=lam)
        assert FADES in note
    assert not said(caplog, styled, with_lora(tiny, styled, "sd15"))
    assert not said(caplog, *pair, after=lambda model: with_lora(tiny, model, "sd15", 1))  # it is put on both
    assert not said(caplog, styled, pair[1], lam=0.0)  # nothing is mixed


def test_another_zero_terminal_snr(pair, caplog):
    reference, anchor = (
        ModelSamplingDiscrete().patch(one, "v_prediction", z)[0] for one, z in zip(pair, (False, True))
    )
    (note,) = said(caplog, reference, anchor)
    assert LEVELS in note
    assert "σ 0.0292 … 4519" in note
    assert not said(caplog, reference, ModelSamplingDiscrete().patch(pair[1], "v_prediction", False)[0])


def test_another_shift(tiny, caplog):
    reference, anchor = tiny.load(tiny.reference("sd3")), tiny.load(tiny.anchor("sd3"))
    shifted = ModelSamplingSD3().patch(reference, 7.0)[0]
    assert LEVELS in said(caplog, shifted, anchor, "sd3")[0]
    assert not said(caplog, shifted, ModelSamplingSD3().patch(anchor, 7.0)[0], "sd3")
    after = lambda model: ModelSamplingSD3().patch(model, 7.0)[0]  # noqa: E731
    assert not said(caplog, reference, anchor, "sd3", after=after)


def test_files_that_say_so_themselves(tiny, caplog):
    """As NoobAI's v-prediction models with and without zero terminal SNR."""
    weights = tiny.weights("sdxl")
    marks = {"plain": {"v_pred": torch.zeros(1)}, "zero": {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}}
    for name, marked in marks.items():
        values = {f"model.diffusion_model.{key}": value for key, value in weights.items()}
        save_file(values | marked, tiny.dir / "checkpoints" / f"levels_{name}.safetensors")
    models = [tiny.load(tiny.dir / "checkpoints" / f"levels_{name}.safetensors") for name in marks]
    assert LEVELS in said(caplog, *models, "sdxl")[0]
