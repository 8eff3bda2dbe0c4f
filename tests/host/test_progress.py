"""The pictures of a sweep while it is sampled: whatever the setting for previews, and never at the run's cost."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import comfy.latent_formats
import comfy.samplers
import comfy.utils
import latent_preview
import numpy as np
import pytest
import torch
import toy_models
from comfy.cli_args import LatentPreviewMethod, args
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from host_runs import distance, realign_guider, same
from PIL import Image
from realign.nodes import live
from realign.nodes.page import show_text
from realign.nodes.pictures.labels import number
from realign.nodes.pictures.particle_strip import ParticleStrip
from realign.nodes.run.attach import Attached
from realign.nodes.sweep import RealignSweep

SETTINGS = dict(values="list", start=0.0, end=1.0, count=2, seeds=2, rows="seed", row_values="")


@pytest.fixture
def pictures(monkeypatch):
    """What the host would send: (done, total, picture or None)."""
    sent = []
    hook = lambda done, total, preview, node_id=None: sent.append((done, total, preview and preview[1]))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    return sent


def pair_of(**latent_format):
    pair = [toy_models.toy_model(seed=seed) for seed in (1, 2)]
    for model in pair:
        own = type("Own", (comfy.latent_formats.LatentFormat,), latent_format)()
        model.model.latent_format = own
    return pair


def run(pair, sampler="euler", batch_size=0, latent=None):
    """(LATENT, denoised LATENT) of a sweep of 3 λ and 2 seeds."""
    latent = latent or toy_models.latent()
    latent, sweep = RealignSweep.execute(latent, listed="0, 0.5, 1.5", batch_size=batch_size, **SETTINGS).args
    guider = realign_guider(pair, *toy_models.CONDS, 0.5, lambda_schedule=sweep)
    sampler, sigmas = comfy.samplers.sampler_object(sampler), torch.tensor([2.0, 1.2, 0.7, 0.3, 0.0])
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, sigmas, latent).args


def strips(sent):
    return [np.asarray(picture).astype(int) for _, _, picture in sent if picture is not None]


FACTORS = dict(latent_rgb_factors=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("latent_format", [{}, FACTORS, {**FACTORS, "latent_rgb_factors_bias": [0.1, 0.0, 0.0]}])
@pytest.mark.parametrize("batch_size", [0, 1, 4])
def test_the_strip_comes_with_previews_off(pictures, latent_format, batch_size):
    assert args.preview_method == LatentPreviewMethod.NoPreviews
    run(pair_of(**latent_format), batch_size=batch_size)
    shown = strips(pictures)
    assert len(shown) >= 2
    assert len({strip.shape for strip in shown}) == 1
    colourful = [bool((strip.max(-1) - strip.min(-1) > 60).any()) for strip in shown]
    assert all(colourful) == bool(latent_format)
    parts = 6 if batch_size == 1 else 2 if batch_size else 1
    assert {total for _, total, _ in pictures} == {4 * parts}
    done = [at for at, _, _ in pictures]
    assert done == sorted(done)
    assert done[-1] == 4 * parts


def test_the_users_own_previewer_is_used_where_there_is_one(pictures, monkeypatch):
    """And the host's picture of one element does not replace the strip."""
    asked = []

    class Theirs(latent_preview.LatentPreviewer):
        def decode_latent_to_preview(self, x0):
            asked.append(len(x0))
            return Image.new("RGB", (16, 16), (200, 10, 10))

    monkeypatch.setattr(latent_preview, "get_previewer", lambda device, latent_format: Theirs())
    run(pair_of(**FACTORS))
    assert len(asked) >= 6
    shown = strips(pictures)
    assert all((strip == (200, 10, 10)).all(-1).any() for strip in shown)
    sizes = [strip.shape for strip in shown]
    assert sizes.count((16, 16, 3)) == 1
    assert sizes[-2:].index((16, 16, 3)) == 0


@pytest.mark.parametrize("sampler", ["euler", "dpm_fast"])
def test_the_denoised_output_does_not_depend_on_previews(pictures, monkeypatch, sampler):
    """The host takes it from its callback; dpm_fast tells fewer steps than the schedule has."""
    off = run(pair_of(**FACTORS), sampler)
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    on = run(pair_of(**FACTORS), sampler)
    assert same(off[0], on[0])
    assert same(off[1], on[1])
    assert distance(off[1], off[0]) > 1e-3 or sampler == "euler"


@pytest.mark.parametrize("sampler", ["euler", "dpm_fast", "dpm_adaptive"])
def test_what_is_said_last_is_of_the_whole_run(monkeypatch, sampler):
    """Some samplers take fewer steps than the schedule has, or more: none of theirs says that it is the last."""
    said = []
    monkeypatch.setattr(live, "show_text", lambda node_id, text: said.append(text))
    guider = realign_guider(pair_of(), *toy_models.CONDS, 0.5)
    sigmas = torch.tensor([2.0, 1.2, 0.7, 0.3, 0.0])
    out = SamplerCustomAdvanced.execute(
        Noise_RandomNoise(1), guider, comfy.samplers.sampler_object(sampler), sigmas, toy_models.latent()
    ).args[0]
    trace = Attached.behind(guider.model_patcher).trace(out["samples"])
    kl = trace.kl_reference()[0]
    assert f" · KL {number(kl, 3)} nats · {trace.model_calls:g} model calls" in said[-1]


def test_a_picture_that_cannot_be_drawn_does_not_end_the_run(pictures, monkeypatch, caplog):
    pair = pair_of(**FACTORS)
    want = run(pair)
    pictures.clear()

    def broken(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr(latent_preview.Latent2RGBPreviewer, "decode_latent_to_preview", broken)
    assert same(run(pair)[0], want[0])
    assert strips(pictures) == []
    assert pictures[-1][:2] == (4, 4)
    assert caplog.text.count("cannot be shown") == 1


def test_the_strip_of_particles_has_each_with_its_score(pictures):
    told = [1.5, 2.5, None, 4.5, 5.5, 6.5], [0, 0, 2, 1, 1, 2]
    realignment = SimpleNamespace(particles=3, sweep=None)
    population = SimpleNamespace(seen=lambda: told)
    plan = SimpleNamespace(
        part=SimpleNamespace(elements=[0, 1], particles=3), trace=SimpleNamespace(steps=[]), population=population
    )
    strip = ParticleStrip(2, 3)
    heard = []
    shapes = [(2, 4, 8, 8)]
    progress = live.Progress(realignment, lambda *of_host: heard.append(of_host), shapes, strip, live.Grey())
    x0 = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    progress.part(plan, 0, 1)(0, x0, x0, 2)
    assert sorted(strip.pictures) == [*range(6)]
    assert {place: float(score) for place, score in strip.scores.items()} == {
        place: score for place, score in enumerate(told[0]) if score is not None
    }
    assert [strip.roots[place] for place in range(6)] == told[1]
    assert torch.equal(heard[0][1], x0[::3])
    assert len(strips(pictures)) == 1


def test_a_text_of_a_broken_file_name_is_shown(monkeypatch):
    shown = []
    server = SimpleNamespace(instance=SimpleNamespace(send_progress_text=lambda text, node_id: shown.append(text)))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=server))
    show_text("1", "λ of a\udcff.safetensors")
    assert shown == ["λ of a?.safetensors".encode()]


def test_latents_that_are_no_pictures():
    assert live.quick_previewer(comfy.latent_formats.StableAudio1(), 1) is None
    grey = live.quick_previewer(comfy.latent_formats.LatentFormat(), 3)
    picture = np.asarray(grey.decode_latent_to_preview(torch.randn(1, 5, 2, 7, 9)))
    assert picture.shape == (7, 9, 3)
    assert (picture == picture[..., :1]).all()
    colours = torch.stack([torch.full((7, 9), value) for value in (-1.0, 0.0, 1.0)])[None]
    assert np.asarray(grey.decode_latent_to_preview(colours))[0, 0].tolist() == [0, 127, 255]


def test_every_latent_format_of_the_host_has_pictures():
    formats = [kind for kind in vars(comfy.latent_formats).values() if isinstance(kind, type)]
    formats = [kind for kind in formats if kind.latent_dimensions > 1 and not kind.__name__.endswith("AV")]
    assert len(formats) > 20
    for kind in formats:
        latent = torch.randn(1, kind.latent_channels, *[8] * kind.latent_dimensions)
        drawn = live.quick_previewer(kind(), kind.latent_dimensions).decode_latent_to_preview(latent)
        assert min(drawn.size) >= 8, kind
