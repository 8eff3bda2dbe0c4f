"""LoadAnchorModel: full files in every layout, β from metadata, and what it refuses, each in one sentence."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import tiny_models
import torch
from comfy.utils import mmdit_to_diffusers, unet_to_diffusers
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from host_runs import conds_of, distance, realign, stock
from realign.nodes.combine_anchors import RealignAddAnchor, RealignAnchorFromModel
from realign.nodes.load_anchor import LoadAnchorModel
from realign.nodes.models.anchor import NO_BETA, Anchor
from realign.nodes.models.beta import beta_from_metadata
from realign.nodes.models.files import find_file, list_files
from rounding import assert_agree
from safetensors.torch import save_file


def load(reference, choice, beta_source="from file", beta=0.0):
    return LoadAnchorModel.execute(reference, choice, 1.0, beta_source, beta).args


def sentence(error):
    """The message as the node's red box shows it: no line breaks, no traceback, ends like a sentence."""
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture
def sd15(models):
    return models("sd15")[0]


def anchor_weights(tiny, kind):
    return tiny_models.perturbed(tiny.weights(kind), 7)


def sd3_as_diffusers(tiny):
    """The SD3 anchor as diffusers writes it: its own layer names, q, k and v apart."""
    weights = anchor_weights(tiny, "sd3")
    out = {}
    for theirs, ours in mmdit_to_diffusers(tiny.load(tiny.reference("sd3")).model.model_config.unet_config).items():
        name, *rest = (ours,) if isinstance(ours, str) else ours
        if name not in weights:
            continue  # layers of larger models
        part = weights[name].narrow(*rest[0]) if rest and rest[0] else weights[name]
        out[theirs] = rest[1](part) if len(rest) > 1 else part  # the swap of scale and shift is its own inverse
    return out


def test_the_list_shows_folders(tiny):
    tiny.anchor("sd15")
    assert "checkpoints/sd15_anchor.safetensors" in list_files()


def test_a_file_that_the_page_downloaded_has_the_name_it_was_wanted_by(tiny):
    """The page knows it as "loras/name", and saves it as that in the folder loras."""
    path = tiny.dir / "loras" / "loras" / "fetched.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert [name for name in list_files() if "fetched" in name] == ["loras/fetched.safetensors"]
    assert find_file("loras/fetched.safetensors") == path
    (tiny.dir / "loras" / "fetched.safetensors").touch()
    assert [name for name in list_files() if "fetched" in name] == ["loras/fetched.safetensors"]
    assert find_file("loras/fetched.safetensors").parent == tiny.dir / "loras"


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3"])
def test_checkpoint(tiny, models, kind):
    tiny.anchor(kind)
    anchor, model = load(models(kind)[0], f"checkpoints/{kind}_anchor.safetensors")
    latent, sampler = tiny_models.latent(kind), "ddim"
    want = stock(models(kind)[1], *conds_of(kind), latent, sampler)
    got = realign((models(kind)[0], anchor), *conds_of(kind), latent, 1.0, sampler)[0]
    for one in (got, stock(model, *conds_of(kind), latent, sampler)):
        assert_agree(one, want, (models(kind)[1],), conds_of(kind))


@pytest.mark.parametrize(("kind", "layout"), [("sd15", "native"), ("sd3", "native"), ("sd3", "diffusers")])
def test_diffusion_model_file(tiny, models, kind, layout):
    weights = anchor_weights(tiny, kind) if layout == "native" else sd3_as_diffusers(tiny)
    path = tiny.dir / "diffusion_models" / f"{kind}_{layout}.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    anchor, _ = load(models(kind)[0], f"diffusion_models/{path.name}")
    latent = tiny_models.latent(kind)
    got = realign((models(kind)[0], anchor), *conds_of(kind), latent, 1.0, "ddim")[0]
    want = stock(models(kind)[1], *conds_of(kind), latent, "ddim")
    assert_agree(got, want, (models(kind)[1],), conds_of(kind))


def test_full_size_sd15_unet_of_diffusers(tiny):
    """What `dpo-sd1.5-text2image-v1` is: the host knows a diffusers UNet by its full depths, so this is full size.

    All weights are views of one buffer, each with a start of its own, which a pickle keeps as such: 860 M parameters in
    a file of the largest layer's size. The reference has its layers, and no memory for their weights.
    """
    reference = tiny.load(tiny.reference("sd15"))
    reference.model.diffusion_model = tiny_models.full_sd15()
    shapes = {name: value.shape for name, value in reference.model.diffusion_model.state_dict().items()}
    config = dict(num_res_blocks=[2] * 4, channel_mult=[1, 2, 4, 4], transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0])
    config |= dict(transformer_depth_output=[1] * 9 + [0] * 3, transformer_depth_middle=1)
    names = {k: v for k, v in unet_to_diffusers(config).items() if v in shapes}
    assert len(names) == len(shapes)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    buffer = torch.randn(max(sizes.values()) + len(sizes), generator=torch.Generator().manual_seed(1)).half()
    theirs = {k: buffer[i : i + sizes[v]].view(shapes[v]) for i, (k, v) in enumerate(names.items())}
    torch.save(theirs, tiny.dir / "diffusion_models" / "dpo_unet.bin")

    anchor, _ = load(reference, "diffusion_models/dpo_unet.bin")
    loaded = anchor[0].patcher.model.diffusion_model.state_dict()
    bits = torch.int16  # compared faster than numbers
    assert all(torch.equal(loaded[ours].half().view(bits), theirs[k].view(bits)) for k, ours in names.items())


def test_plain_pickle_checkpoint(tiny, models):
    weights = {f"model.diffusion_model.{k}": v for k, v in anchor_weights(tiny, "sd15").items()}
    torch.save({"state_dict": weights, "global_step": 3}, tiny.dir / "checkpoints" / "sd15_old.ckpt")
    anchor, _ = load(models("sd15")[0], "checkpoints/sd15_old.ckpt")
    latent = tiny_models.latent("sd15")
    got = realign((models("sd15")[0], anchor), *conds_of("sd15"), latent, 1.0)[0]
    want = stock(models("sd15")[1], *conds_of("sd15"), latent)
    assert_agree(got, want, (models("sd15")[1],), conds_of("sd15"))


@pytest.mark.parametrize(
    ("metadata", "beta"),
    [
        ({"realign.beta": "500"}, 500.0),
        ({"beta_dpo": "5000"}, 5000.0),
        ({"ss_beta_dpo": "2000.0"}, 2000.0),
        ({"training_args": json.dumps({"lr": 1e-5, "beta_dpo": 2500})}, 2500.0),
        ({"beta": "0.04"}, 0.04),
        ({"optimizer": json.dumps({"beta": 0.9})}, None),
        ({"beta_dpo": "None"}, None),
        ({"beta_dpo": "-1"}, None),
        ({"format": "pt"}, None),
        (None, None),
    ],
)
def test_beta_from_metadata(metadata, beta):
    assert beta_from_metadata(metadata) == beta


def test_beta_choices(tiny, sd15):
    path = tiny.dir / "checkpoints" / "sd15_beta.safetensors"
    weights = {f"model.diffusion_model.{k}": v for k, v in anchor_weights(tiny, "sd15").items()}
    save_file(weights, path, metadata={"beta_dpo": "5000"})
    choice = f"checkpoints/{path.name}"
    assert load(sd15, choice)[0][0].beta == 5000
    assert load(sd15, choice, "typed", 123.0)[0][0].beta == 123
    assert load(sd15, choice, NO_BETA)[0][0].beta is None
    with pytest.raises(ValueError, match="above 0") as error:
        load(sd15, choice, "typed", 0.0)
    sentence(error)


def test_another_architecture_is_refused(tiny, models):
    tiny.anchor("sd3")
    with pytest.raises(ValueError, match="is SD3, but the reference model is SD15") as error:
        load(models("sd15")[0], "checkpoints/sd3_anchor.safetensors")
    sentence(error)


def test_another_depth_of_the_same_family_is_refused(tiny, models, monkeypatch):
    config = {**tiny_models.UNET["sd15"], "num_res_blocks": [2], "transformer_depth": [1, 1]}
    monkeypatch.setitem(tiny_models.UNET, "sd15", {**config, "transformer_depth_output": [1, 1, 1]})
    tiny.checkpoint("sd15_deeper", tiny_models.TinyModels(tiny.dir).weights("sd15"))
    with pytest.raises(ValueError, match="different kind of SD15 than the reference: it has a layer") as error:
        load(models("sd15")[0], "checkpoints/sd15_deeper.safetensors")
    sentence(error)


def test_another_prediction_type_is_refused(models):
    reference, anchor = models("sd15")
    v_anchor = ModelSamplingDiscrete().patch(anchor, "v_prediction", False)[0]
    with pytest.raises(ValueError, match="predicts V_PREDICTION, but the reference model predicts EPS") as error:
        realign((reference, v_anchor), *conds_of("sd15"), tiny_models.latent("sd15"), 0.5)
    sentence(error)


def test_a_model_that_is_no_diffusion_is_refused(models):
    pair = [ModelSamplingDiscrete().patch(model, "img_to_img", False)[0] for model in models("sd15")]
    with pytest.raises(ValueError, match="cannot sample a IMG_TO_IMG model") as error:
        realign(pair, *conds_of("sd15"), tiny_models.latent("sd15"), 0.5)
    sentence(error)


@pytest.mark.parametrize("keep", [5, 300, 0.5, 0.999])
def test_truncated_safetensors_is_refused(tiny, sd15, keep):
    whole = tiny.anchor("sd15").read_bytes()
    path = tiny.dir / "checkpoints" / "sd15_cut.safetensors"
    path.write_bytes(whole[: keep if keep > 1 else int(len(whole) * keep)])
    with pytest.raises(ValueError, match="truncated or corrupt") as error:
        load(sd15, f"checkpoints/{path.name}")
    sentence(error)


def test_truncated_pickle_is_refused(tiny, sd15):
    path = tiny.dir / "checkpoints" / "sd15_cut.ckpt"
    torch.save({"model.diffusion_model.a.weight": torch.ones(100, 100)}, path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match="truncated or corrupt") as error:
        load(sd15, f"checkpoints/{path.name}")
    sentence(error)


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran code')",))


@pytest.mark.parametrize("how", ["zip", "bare"])
def test_pickle_with_code_is_refused_and_not_run(tiny, sd15, how):
    path = tiny.dir / "checkpoints" / "sd15_evil.ckpt"
    if how == "zip":
        torch.save({"state_dict": {"a": torch.ones(2)}, "callback": Harmful()}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Harmful()}))
    with pytest.raises(ValueError, match="besides weights") as error:
        load(sd15, f"checkpoints/{path.name}")
    sentence(error)


def test_file_with_missing_weights_is_refused(tiny, sd15):
    """The host would warn and sample with uninitialised memory."""
    weights = {f"model.diffusion_model.{k}": v for k, v in anchor_weights(tiny, "sd15").items()}
    del weights["model.diffusion_model.out.2.weight"]
    save_file(weights, tiny.dir / "checkpoints" / "sd15_hole.safetensors")
    with pytest.raises(ValueError, match=r"incomplete: weights are missing .*out\.2\.weight") as error:
        load(sd15, "checkpoints/sd15_hole.safetensors")
    sentence(error)


def test_something_else_is_refused(tiny, sd15):
    save_file({"some.weight": torch.ones(3, 3)}, tiny.dir / "checkpoints" / "other.safetensors")
    with pytest.raises(ValueError, match="neither a diffusion model") as error:
        load(sd15, "checkpoints/other.safetensors")
    sentence(error)
    with pytest.raises(ValueError, match="There is no anchor file") as error:
        load(sd15, "checkpoints/gone.safetensors")
    sentence(error)


def test_anchor_from_any_model(models):
    pair, latent = models("sd15"), tiny_models.latent("sd15")
    anchor = RealignAnchorFromModel.execute(pair[1], "typed", 500.0).args[0]
    assert anchor[0].beta == 500
    got = realign((pair[0], anchor), *conds_of("sd15"), latent, 1.0)
    assert_agree(got[0], stock(pair[1], *conds_of("sd15"), latent), pair, conds_of("sd15"))
    assert json.loads(got[2])["anchors"][0]["beta"] == 500


def test_two_anchors(models, tiny):
    """Shares 1 and 0 are the first anchor exactly; equal shares of two equal anchors are one anchor."""
    reference, first = models("sd15")
    second = tiny.load(tiny.checkpoint("sd15_second", tiny_models.perturbed(tiny.weights("sd15"), 99)))
    conds, latent = conds_of("sd15"), tiny_models.latent("sd15")

    def add(a, b, share_a, share_b):
        return RealignAddAnchor.execute((Anchor(a, "a"),), (Anchor(b, "b"),), share_a, share_b).args[0]

    want = stock(first, *conds, latent)
    assert_agree(realign((reference, add(first, second, 1.0, 0.0)), *conds, latent, 1.0)[0], want, (first,), conds)
    want = stock(second, *conds, latent)
    assert_agree(realign((reference, add(first, second, 0.0, 1.0)), *conds, latent, 1.0)[0], want, (second,), conds)
    one = realign((reference, first), *conds, latent, 0.5)[0]
    both = realign((reference, add(first, first.clone(), 0.5, 0.5)), *conds, latent, 0.5)[0]
    assert_agree(both, one, (reference, first), conds)
    mixed = realign((reference, add(first, second, 0.5, 0.5)), *conds, latent, 1.0)
    assert json.loads(mixed[2])["model_calls"] == 4 * 2  # the reference's weight is 0
    assert distance(mixed[0], one) > 0.05
