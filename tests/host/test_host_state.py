"""The host's models, progress bar and cancel button: what a run shows while it runs and leaves behind."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import pytest
import tiny_models
import torch
from comfy.cli_args import LatentPreviewMethod, args
from host_runs import conds_of, realign, stock


@pytest.fixture
def progress(monkeypatch):
    """The (done, total, preview) of each tick; `progress.at[n]` is called at the nth, as the host's page would be.

    The host drops ticks that follow fast upon one another, but for those with a preview.
    """
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)

    class Ticks(list):
        at = {}

        def __call__(self, value, total, preview, node_id=None):
            self.append((value, total, preview))
            self.at.get(len(self), lambda: None)()
            comfy.model_management.throw_exception_if_processing_interrupted()  # main.py's hook does

    ticks = Ticks()
    comfy.utils.set_progress_bar_global_hook(ticks)
    yield ticks
    comfy.utils.set_progress_bar_global_hook(None)


@pytest.fixture
def calls():
    """Counts the forward calls of diffusion models; `calls(model)` gives the count so far."""
    handles, counts = [], {}

    def watch(model):
        net = model.model.diffusion_model
        if id(net) not in counts:
            counts[id(net)] = 0

            def hook(*_):
                counts[id(net)] += 1

            handles.append(net.register_forward_hook(hook))
        return counts[id(net)]

    yield watch
    for handle in handles:
        handle.remove()


def fail_at(model, call):
    """The model, raising at the nth forward call of a run."""
    clone, seen = model.clone(), []

    def wrapper(apply_model, parts):
        seen.append(1)
        if len(seen) == call:
            raise RuntimeError("planted failure")
        return apply_model(parts["input"], parts["timestep"], **parts["c"])

    clone.set_model_unet_function_wrapper(wrapper)
    return clone


@pytest.mark.parametrize(("lam", "each"), [(0.0, (1, 0)), (0.5, (1, 1)), (1.0, (0, 1)), (1.3, (1, 1))])
def test_one_tick_one_preview_and_the_calls_that_count(models, progress, calls, lam, each):
    pair = models("sd15")
    before = [calls(model) for model in pair]
    latent, _, trace = realign(pair, *conds_of("sd15"), tiny_models.latent("sd15"), lam, steps=5)
    assert [(done, total) for done, total, _ in progress] == [(i, 5) for i in range(1, 6)]
    assert all(preview is not None for _, _, preview in progress)
    # cfg 7 evaluates positive and negative in one forward call
    assert tuple(calls(model) - b for model, b in zip(pair, before)) == (5 * each[0], 5 * each[1])
    assert f'"model_calls": {5 * sum(each)}' in trace


def test_stock_runs_are_bitwise_the_same_afterwards(models):
    pair, conds, latent = models("sd15"), conds_of("sd15"), tiny_models.latent("sd15")
    before = [stock(model, *conds, latent)["samples"] for model in pair]
    for lam in (0.5, 1.0, 0.0):
        realign(pair, *conds, latent, lam)
    after = [stock(model, *conds, latent)["samples"] for model in pair]
    assert all(torch.equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize("at", [1, 3])
def test_cancelled_run_leaves_the_models_as_they_were(models, progress, at):
    pair, conds, latent = models("sd3"), conds_of("sd3"), tiny_models.latent("sd3")
    before = [stock(model, *conds, latent, "ddim")["samples"] for model in pair]
    progress.clear()
    progress.at = {at: lambda: comfy.model_management.interrupt_current_processing()}
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        realign(pair, *conds, latent, 0.5, "ddim")
    assert len(progress) == at
    progress.at = {}
    assert_clean(pair)
    assert all(torch.equal(stock(m, *conds, latent, "ddim")["samples"], b) for m, b in zip(pair, before))


@pytest.mark.parametrize("which", [0, 1])
def test_failed_step_leaves_the_models_as_they_were(models, which):
    pair, conds, latent = models("toy"), conds_of("toy"), tiny_models.latent("toy")
    before = [stock(model, *conds, latent)["samples"] for model in pair]
    failing = [fail_at(model, 3) if i == which else model for i, model in enumerate(pair)]
    with pytest.raises(RuntimeError, match="planted failure"):
        realign(failing, *conds, latent, 0.5)
    assert_clean(pair)
    assert all(torch.equal(stock(m, *conds, latent)["samples"], b) for m, b in zip(pair, before))


def assert_clean(pair):
    for model in pair:
        assert model.model.current_patcher is None
        assert not model.additional_models
        assert "realign" not in str(model.model_options)


def test_nothing_is_added_to_models_that_a_graph_passes_in(models):
    pair = models("sd15")
    options = [str(model.model_options) for model in pair]
    realign(pair, *conds_of("sd15"), tiny_models.latent("sd15"), 0.5)
    assert [str(model.model_options) for model in pair] == options
    assert_clean(pair)


def test_an_anchor_that_is_never_used_is_not_loaded(models, calls):
    pair = models("sd15")
    comfy.model_management.unload_all_models()
    realign(pair, *conds_of("sd15"), tiny_models.latent("sd15"), 0.0)
    loaded = [m.model.model for m in comfy.model_management.current_loaded_models]
    assert pair[0].model in loaded
    assert pair[1].model not in loaded


def test_both_models_are_loaded_by_one_call_before_the_first_step(models, monkeypatch):
    """Never inside a step: with little memory that would swap weights at every step."""
    requests = []
    load = comfy.model_management.load_models_gpu

    def watched(models, *rest, **options):
        requests.append([m.model for m in models])
        return load(models, *rest, **options)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", watched)
    pair = models("sd15")
    realign(pair, *conds_of("sd15"), tiny_models.latent("sd15"), 0.5)
    assert len(requests) == 1
    assert {id(m) for m in requests[0]} == {id(pair[0].model), id(pair[1].model)}
