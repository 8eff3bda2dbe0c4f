"""Realign Check says that all is right where it is, and names each fault that is planted."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path

import comfy.model_management
import comfy.sd
import pytest
import tiny_models
import torch
import toy_models
from comfy.patcher_extension import CallbacksMP
from conftest import PACK
from host_runs import anchors_of, conds_of, same, stock
from patched_pairs import with_lora
from realign.nodes import check as node_file
from realign.nodes.check import RIGHT, RealignCheck
from realign.nodes.combine_anchors import RealignAddAnchor
from realign.nodes.models.described import in_memory, nodes_on, public_name
from realign.nodes.models.footprint import Footprint
from realign.nodes.run.run import Run

HOST = Path(comfy.model_management.__file__).parents[1]


def report_of(pair, kind="sd15", conds=None, latent=None, **options):
    """The report of the check. pair: the reference, and a MODEL or anchors."""
    inputs = dict(zip(("positive", "negative"), conds or conds_of(kind), strict=True))
    latent = latent or tiny_models.latent(kind)
    anchors = anchors_of(pair[1])
    text = RealignCheck.execute(model=pair[0], anchor=anchors, latent=latent, **inputs, **options).args[0]
    print(text)
    return text


def lines(report, mark):
    return [line[2:] for line in report.splitlines() if line.startswith(mark)]


def load(path, dtype):
    return comfy.sd.load_checkpoint_guess_config(
        str(path), output_vae=False, output_clip=False, model_options={"dtype": dtype} if dtype else {}
    )[0]


def pair_of(tiny, kind, how, dtype=None):
    reference = load(tiny.reference(kind), dtype)
    return reference, load(tiny.anchor(kind), dtype) if how == "full" else with_lora(tiny, reference, kind)


def all_right(report):
    assert report.startswith(RIGHT)
    assert not lines(report, "✗") + lines(report, "?")
    assert [line.partition(":")[0] for line in lines(report, "✓")] == ["λ 0", "λ 1", "anchor", "λ 0.5", "afterwards"]


@pytest.mark.parametrize("how", ["full", "lora"])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("kind", ["sd15", "sd3"])
def test_all_is_right(tiny, kind, dtype, how):
    report = report_of(pair_of(tiny, kind, how, dtype), kind)
    all_right(report)
    assert report.count("bit for bit") == 3
    assert f"{str(dtype or torch.float32).removeprefix('torch.')} weights, computed in float32" in report
    assert f"{kind.upper()}, 4 steps" in report
    assert "2 model calls" in report


@pytest.mark.parametrize("how", ["full", "lora"])
def test_all_is_right_in_half_precision(tiny, how, monkeypatch):
    """Computed in it, too, which the host does on a GPU alone."""
    monkeypatch.setattr(comfy.model_management, "unet_manual_cast", lambda *_, **__: None)
    report = report_of(pair_of(tiny, "sd15", how, torch.bfloat16))
    assert "bfloat16 weights, computed in bfloat16" in report
    all_right(report)


def test_all_is_right_with_more_anchors_a_batch_and_a_mask(tiny):
    reference, anchor = pair_of(tiny, "sd3", "full")
    anchors = RealignAddAnchor.execute(anchors_of(anchor), anchors_of(with_lora(tiny, reference, "sd3")), 2.0, -1.0)
    latent = tiny_models.latent("sd3", 2, seed=1) | {"noise_mask": torch.rand(1, 8, 8)}
    report = report_of((reference, anchors.args[0]), "sd3", latent=latent, steps=2, cfg=1.0)
    assert report.startswith(RIGHT)
    assert report.count("bit for bit") == 4
    assert "3 model calls" in report


# Faults.


def verdict(report):
    first = report.splitlines()[0]
    assert first.startswith("Not right at ")
    return first


def test_a_lora_that_changes_nothing(tiny):
    """Of zeros, as trainers begin, or none at all."""
    reference = tiny.load(tiny.reference("sd15"))
    report = report_of((reference, reference.clone()))
    assert "the anchor answers exactly as the reference does, in its own stock run" in verdict(report)
    assert "is its LoRA for this model" in verdict(report)


def test_a_lora_that_a_node_keeps_away_is_refused_in_a_line(tiny):
    reference = tiny.load(tiny.reference("sd15")).clone()
    reference.set_model_unet_function_wrapper(lambda apply_model, args: 0.5 * args["input"])
    report = report_of((reference, with_lora(tiny, reference, "sd15")))
    assert "λ 0.5: refused: The anchor “anchor” answers exactly as the reference does" in verdict(report)
    assert "afterwards: the reference is as before" in report


def test_a_pair_that_does_not_fit_is_refused_in_a_line(models):
    report = report_of((models("sd15")[0], models("toy")[1]), "sd15")
    assert "refused: The anchor “anchor” is" in verdict(report)


def predicting(monkeypatch, change):
    """Has every answer of a mixed run be change(run, question, answer)."""
    honest = Run.predict
    monkeypatch.setattr(Run, "predict", lambda run, question: change(run, question, honest(run, question)))


@pytest.mark.parametrize("how", ["full", "lora"])
def test_an_anchor_that_is_not_asked(tiny, how, monkeypatch):
    predicting(monkeypatch, lambda run, q, _: q.reference(q.x, q.timestep, q.options, q.seed))
    report = report_of(pair_of(tiny, "sd15", how))
    assert "not the mixture of both" in verdict(report)
    assert "rather as at λ 0.00" in verdict(report).replace("λ -", "λ ")


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
def test_a_wrong_mixture(tiny, dtype, monkeypatch):
    """An error far below what one could see; of a LoRA in few digits, that of its rounding is larger."""
    predicting(monkeypatch, lambda run, question, answer: answer * 1.001)
    for how in ("full", "lora") if dtype is None else ("full",):
        report = report_of(pair_of(tiny, "sd15", how, dtype))
        assert "λ 0.5: not the mixture of both" in verdict(report)
        assert "report it" in verdict(report)
    assert "λ 0: the reference's stock run, bit for bit" in report


def test_answers_that_are_no_numbers(tiny, monkeypatch):
    predicting(monkeypatch, lambda run, question, answer: answer * float("nan"))
    report = report_of(pair_of(tiny, "sd15", "full"))
    assert "λ 0.5: refused: The sampled latent holds values that are not finite" in verdict(report)


@pytest.mark.parametrize("which", [0, 1])
def test_a_model_of_no_numbers(which):
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    pair[which].model.diffusion_model.layer.weight[0, 0] = float("nan")
    report = report_of(pair, conds=toy_models.CONDS, latent=toy_models.latent())
    assert f"λ {which}: the {('reference', 'anchor')[which]}'s own stock run gives NaN" in verdict(report)
    assert f"λ {1 - which}: the" in report
    assert not lines(report, "?")


class Forgetful:
    """A node whose patch keeps what it saw where nobody looks: on a library's module."""

    @staticmethod
    def patch(model):
        def function(args):
            last = getattr(torch, "kept_by_a_pack", None)
            torch.kept_by_a_pack = args["denoised"]
            same = last is not None and last.shape == args["denoised"].shape
            return args["denoised"] + 0.5 * (args["denoised"] - last) if same else args["denoised"]

        model = model.clone()
        model.set_model_sampler_post_cfg_function(function)
        model.add_callback(CallbacksMP.ON_CLEANUP, clear)
        return model


def clear(*_):
    torch.kept_by_a_pack = None


def harmless(model):
    model = model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.9)
    return model


@pytest.mark.parametrize("how", ["full", "lora"])
def test_a_patch_with_state_that_is_shared(tiny, how):
    """Named, and no other beside it."""
    clear()
    reference, anchor = (harmless(Forgetful.patch(model)) for model in pair_of(tiny, "sd15", how))
    report = report_of((reference, anchor))
    assert "λ 0.5: not the mixture of both" in verdict(report)
    assert "without “test_check.Forgetful” it is right" in verdict(report)
    assert "bypass “test_check.Forgetful”" in verdict(report)
    assert "on the reference: test_check.Forgetful, test_check.harmless, test_check.clear" in report
    assert "afterwards: the reference is as before" in report
    clear()


def left_behind(*_):
    return None


def test_a_hook_that_a_run_leaves(tiny, monkeypatch):
    def leave(run, question, answer):
        run.guider.model_patcher.model.diffusion_model.out[2].register_forward_hook(left_behind)
        return answer

    predicting(monkeypatch, leave)
    report = report_of(pair_of(tiny, "sd15", "full"))
    assert "afterwards: on the reference is left: a forward hook of “test_check.left_behind”" in verdict(report)
    assert "diffusion_model.out.2" in verdict(report)
    assert len(lines(report, "✗")) == 1


def test_a_hook_that_another_node_leaves(tiny):
    def leak(patcher):
        patcher.model.diffusion_model.register_forward_hook(left_behind)

    reference, anchor = pair_of(tiny, "sd15", "full")
    reference = reference.clone()
    reference.add_callback(CallbacksMP.ON_PRE_RUN, leak)
    report = report_of((reference, anchor))
    assert "a forward hook of “test_check.left_behind” on diffusion_model stays after each stock run" in verdict(report)
    assert "without Realign too" in verdict(report)


def test_weights_that_are_not_what_they_were(tiny, monkeypatch):
    def break_them(run, question, answer):
        run.guider.model_patcher.model.diffusion_model.out[2].weight.mul_(1.001)
        return answer

    predicting(monkeypatch, break_them)
    report = report_of(pair_of(tiny, "sd15", "full"))
    assert "afterwards: a stock run of the reference is not what it was" in report


def test_options_that_stay(models, monkeypatch):
    reference, anchor = models("sd15")[0].clone(), models("sd15")[1]
    predicting(monkeypatch, lambda run, q, answer: (reference.model_options.update(stays=1), answer)[1])
    assert "afterwards: on the reference is left: other model options" in verdict(report_of((reference, anchor)))


def test_a_run_that_breaks_becomes_a_line_without_its_message(tiny, monkeypatch, caplog):
    def fail(run, question, answer):
        raise RuntimeError("/home/someone/secret")

    predicting(monkeypatch, fail)
    with caplog.at_level(logging.ERROR):
        report = report_of(pair_of(tiny, "sd15", "full"))
    assert "λ 0.5: failed: RuntimeError in test_check; the log says more" in verdict(report)
    assert "/home/someone/secret" in caplog.text
    assert "secret" not in report
    assert "afterwards: the reference is as before" in report


# What it leaves, says and shows.


def hooks(patcher):
    return Footprint.of(patcher).hooks


@pytest.mark.parametrize("at", [2, 10, 18, 22, 30, 34, 38, 42, 46])
def test_a_cancelled_check_leaves_the_models_as_they_were(tiny, at):
    """Within each of its runs."""
    pair, conds, latent = pair_of(tiny, "sd15", "lora", torch.float16), conds_of("sd15"), tiny_models.latent("sd15")
    before, seen = [stock(model, *conds, latent) for model in pair], []
    clean = [Footprint.of(model) for model in pair]

    def cancel(module, args):
        seen.append(1)
        if len(seen) == at:
            comfy.model_management.interrupt_current_processing()
            comfy.model_management.throw_exception_if_processing_interrupted()

    handle = pair[0].model.diffusion_model.register_forward_pre_hook(cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        report_of(pair)
    handle.remove()
    assert [one.left(Footprint.of(model)) for one, model in zip(clean, pair, strict=True)] == [[], []]
    assert all(same(stock(m, *conds, latent), b) for m, b in zip(pair, before, strict=True))


def test_the_models_of_a_graph_are_left_as_they_were(tiny):
    pair, conds, latent = pair_of(tiny, "sd3", "lora", torch.bfloat16), conds_of("sd3"), tiny_models.latent("sd3")
    before = [stock(model, *conds, latent) for model in pair]
    clean = [Footprint.of(model) for model in pair]
    report_of(pair, "sd3")
    assert [one.left(Footprint.of(model)) for one, model in zip(clean, pair, strict=True)] == [[], []]
    assert all(same(stock(m, *conds, latent), b) for m, b in zip(pair, before, strict=True))


def test_the_report_names_no_paths(tiny, monkeypatch):
    """Not even of a pack whose folder, which is its name to the host, lies outside of it."""
    module = types.ModuleType("/home/someone/custom_nodes/pack.nodes")
    module.__file__ = "/home/someone/custom_nodes/pack/nodes.py"

    def patch(args):
        return args["denoised"]

    patch.__module__, patch.__qualname__ = module.__name__, "Node.patch"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reference, anchor = pair_of(tiny, "sd15", "lora")
    reference = reference.clone()
    reference.set_model_sampler_post_cfg_function(patch)
    report = report_of((reference, anchor))
    assert "on the reference: pack.nodes.Node" in report
    for path in (Path.home(), HOST, PACK, tiny.dir, "someone"):
        assert str(path) not in report
    assert public_name(type("X", (), {"__module__": r"C:\Users\me\custom_nodes\pack.nodes"})()) == "pack.nodes.X"
    assert nodes_on(reference) == ["pack.nodes.Node"]
    assert {"Realign 0.1.0", f"torch {torch.__version__}"} <= set(report.split(", ")) | {report.split("\n\n")[1][:13]}


def test_the_table_is_shown_on_the_node(models, monkeypatch):
    shown, (positive, negative) = [], conds_of("sd15")
    monkeypatch.setattr(node_file, "show_text", lambda node_id, text: shown.append(text))
    reference, anchor = models("sd15")
    inputs = (reference, anchors_of(anchor), positive, negative, tiny_models.latent("sd15"))
    out = RealignCheck.execute(*inputs, steps=1)
    (told,) = out.ui["realign_check"]
    assert shown[0] == "checking: stock run of the reference …"
    assert shown[-1].startswith("checked in ")
    assert told["report"] == out.args[0]
    assert told["report"].startswith(told["table"])
    assert "torch" in told["report"].removeprefix(told["table"])


def test_streamed_memory_is_told(models, monkeypatch):
    reference, anchor = models("sd15")

    def loaded(patcher, there):
        patcher = types.SimpleNamespace(
            is_clone=lambda other: other is patcher_of[id(patcher)], load_device="cuda", offload_device="cpu"
        )
        patcher_of[id(patcher)] = reference
        return types.SimpleNamespace(
            model=patcher, model_memory=lambda: 3 * 2**30, model_loaded_memory=lambda: there * 2**30
        )

    patcher_of = {}
    both = [loaded(reference, 1), loaded(reference, 3)]
    monkeypatch.setattr(comfy.model_management, "current_loaded_models", both)
    assert in_memory("reference", [reference]) == [
        "reference 3 GB, 2 GB of it streamed in each call",
        "reference 3 GB, all loaded",
    ]
    assert in_memory("anchor", [anchor]) == []
