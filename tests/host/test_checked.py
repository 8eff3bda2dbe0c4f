"""Every node checks every input against its schema; a result that is not finite is said. Over HTTP: test_bad_inputs."""

from __future__ import annotations

import inspect
import logging
import math
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch
import toy_models
from comfy_api.latest import io
from host_runs import anchors_of, realign, realign_guider, sampled, stock
from realign.nodes import NODES
from realign.nodes.checked import CHECKS, Node, range_of, told
from realign.nodes.guider import RealignModel
from realign.nodes.inputs import number
from realign.nodes.reward.picture import PICTURE_REWARDS
from realign.nodes.run.result import check_result
from realign.nodes.sweep import RealignSweep

NUMERIC = ("INT", "FLOAT")
NUMBERS = [(node, item) for node in NODES for item in node.define_schema().inputs if item.get_io_type() in NUMERIC]
BAD = {
    "nan": lambda low, high: math.nan,
    "inf": lambda low, high: math.inf,
    "-inf": lambda low, high: -math.inf,
    "1e30": lambda low, high: 1e30,
    "-1e30": lambda low, high: -1e30,
    "10^5000": lambda low, high: 10**5000,
    "below": lambda low, high: math.nextafter(low, -math.inf) if low else -1,
    "above": lambda low, high: high + 1,
    "text": lambda low, high: "1_0",
}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_has_its_inputs_checked(node):
    """A node that is added later, too: nothing of it has to be remembered."""
    schema, parameters = node.define_schema(), inspect.signature(node.execute).parameters
    assert issubclass(node, Node)
    assert set(node.says_itself) <= {item.id for item in schema.inputs}
    for item in schema.inputs:
        assert item.get_io_type() in {*CHECKS, "CURVE"}, f"nothing checks a {item.get_io_type()}"
        if item.get_io_type() in NUMERIC:
            low, high = range_of(item)
            assert low <= item.default <= high
        if item.optional:
            assert parameters[item.id].default is not inspect.Parameter.empty, "what is left open has a value"


def valid(item):
    """A value of an input's type."""
    models = {"MODEL": toy_models.toy_model, "REALIGN_ANCHOR": lambda: anchors_of(toy_models.toy_model(seed=2))}
    models["REALIGN_REWARD"] = lambda: PICTURE_REWARDS["brightness"]
    models["VAE"] = lambda: SimpleNamespace(patcher=toy_models.toy_model(), first_stage_model=None)
    values = {"CONDITIONING": toy_models.CONDS[0], "LATENT": toy_models.latent(), "IMAGE": torch.rand(1, 8, 8, 3)}
    kind, own = item.get_io_type(), getattr(item, "default", None)
    if kind in models:
        return models[kind]()
    if kind == "COMBO":
        return (item.options or ["x"])[0]
    return values.get(kind, "x" if own is None else own)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("node", "item"), NUMBERS, ids=lambda one: getattr(one, "id", None) or one.__name__)
def test_every_number_of_every_node(monkeypatch, node, item, bad):
    def load(*_, **__):
        raise AssertionError("a model was loaded before the refusal")

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)
    inputs = {one.id: valid(one) for one in node.define_schema().inputs if not one.optional}
    with pytest.raises(ValueError, match="must be") as error:
        node.execute(**inputs | {item.id: BAD[bad](*range_of(item))})
    text = str(error.value)
    assert text.startswith(f"“{item.display_name or item.id}” is ")
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 200


def test_the_hosts_copies_of_a_class_check_once():
    calls = []

    class Counted(Node):
        @classmethod
        def define_schema(cls):
            calls.append(cls)
            return io.Schema("Counted", inputs=[number("steps", 1, 1, 5)("")])

        @classmethod
        def execute(cls, steps):
            return io.NodeOutput(steps, cls.hidden)

    copied = Counted.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: "7"}})
    out = copied.EXECUTE_NORMALIZED(steps=2.0).args
    assert out[0] == 2
    assert isinstance(out[0], int)
    assert out[1].unique_id == "7"
    assert len(calls) == 1
    with pytest.raises(ValueError, match="“steps” is 6, but must be a whole number from 1 to 5"):
        copied.EXECUTE_NORMALIZED(6)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(10**5000, "hundreds of digits", id="huge"),
        (25_000, "25,000"),
        (1e9, "1,000,000,000"),
        ("a\nb" * 100, "the text “a b"),
        (torch.zeros(2, 3), "a tensor of float32 and the shape (2, 3)"),
        ([1], "a list"),
    ],
)
def test_a_value_in_a_few_words(value, words):
    assert words in told(value)
    assert len(told(value)) < 70
    assert "\n" not in told(value)


def latents(*finite):
    out = torch.zeros(len(finite), 4, 8, 8)
    for one, is_finite in zip(out, finite):
        one[0, 3, 3] = 0.0 if is_finite else math.nan
    return out


def test_a_latent_without_a_finite_picture_is_an_error():
    check_result(latents(True, True))
    for bad in (latents(False), latents(False, False), torch.full((1, 4, 8, 8), math.inf)):
        with pytest.raises(ValueError, match=r"not finite numbers \(NaN or infinity\): .* lower λ and cfg"):
            check_result(bad)


def test_some_pictures_that_are_not_finite_are_named(caplog):
    shown = []
    with caplog.at_level(logging.WARNING):
        check_result(latents(True, False, True, False), shown.append)
    assert shown == ["pictures 2, 4 of 4 are not finite (NaN or infinity)"]
    assert "pictures 2, 4 of 4 are not finite" in caplog.text


def overflowing(seed=1):
    """A model whose weights leave a number format."""
    model = toy_models.toy_model(seed=seed)
    model.model.diffusion_model.layer.weight.data[0, 0] = math.nan
    return model


def by_sampler(pair, lam, **schedule):
    return realign(pair, *toy_models.CONDS, schedule.pop("latent", toy_models.latent()), lam, "ddim", **schedule)[0]


def by_guider(pair, lam, **schedule):
    latent = schedule.pop("latent", toy_models.latent())
    return sampled(realign_guider(pair, *toy_models.CONDS, lam, **schedule), latent)


def by_model(pair, lam, **schedule):
    latent = schedule.pop("latent", toy_models.latent())
    model = RealignModel.execute(pair[0], anchors_of(pair[1]), lam, **schedule).args[0]
    return stock(model, *toy_models.CONDS, latent, "euler")


WAYS = [by_sampler, by_guider, by_model]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_gives_no_finite_picture_says_it(way, lam):
    with pytest.raises(ValueError, match="The sampled latent holds values that are not finite"):
        way((overflowing(1), overflowing(2)), lam)


@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_of_which_some_pictures_are_finite_keeps_them(caplog, way):
    """λ 0 is the reference's own run, which an anchor that overflows does not reach."""
    options = dict(start=0.0, end=1.0, count=2, seeds=1, rows="seed", row_values="", batch_size=1)
    latent, sweep = RealignSweep.execute(toy_models.latent(), values="list", listed="0, 1", **options).args
    with caplog.at_level(logging.WARNING):
        out = way((toy_models.toy_model(), overflowing(2)), 1.0, latent=latent, lambda_schedule=sweep)["samples"]
    assert torch.isfinite(out.flatten(1)).all(1).tolist() == [True, False]
    assert "picture 2 of 2 is not finite" in caplog.text
