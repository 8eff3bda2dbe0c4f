"""Latents as pictures while they are sampled: as the host decodes them, with gradients, in parts, without loading."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.model_management
import comfy.sd
import pytest
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.wan.vae import WanVAE
from comfy.pixel_space_convert import PixelspaceConversionVAE
from comfy.taesd.taesd import TAESD
from realign.nodes.reward.decoded import FULL, HALF, QUARTER, TILED, Decoder, tiled
from realign.nodes.reward.judge import Judge
from realign.nodes.reward.picture import PICTURE_REWARDS
from realign.nodes.reward.protocol import RewardError

KL = {
    "embed_dim": 4,
    "ddconfig": {
        "double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32,
        "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    },
}  # fmt: skip
WAN = {"dim": 32, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [], "dropout": 0.0}
SHAPES = {"kl": (4, 6, 8), "taesd": (4, 6, 8), "pixels": (3, 24, 40), "wan": (16, 1, 6, 8)}


def network(kind):
    if kind == "kl":
        return AutoencoderKL(**KL)
    if kind == "wan":
        return WanVAE(**WAN, temperal_downsample=[False, True, True])
    return TAESD() if kind == "taesd" else PixelspaceConversionVAE()


def weights_of(kind):
    generator = torch.Generator().manual_seed(3)
    out = {}
    for name, value in network(kind).state_dict().items():
        fan = max(value[0].numel() if value.ndim > 1 else 1, 1)
        drawn = torch.randn(value.shape, generator=generator) / fan**0.5
        out[name] = drawn if value.ndim > 1 else torch.ones_like(value) + 0.1 * drawn
    return out | ({"pixel_space_vae": torch.tensor(1.0)} if kind == "pixels" else {})


@pytest.fixture(scope="module")
def vaes():
    loaded = {}

    def load(kind, dtype=torch.float32):
        if (kind, dtype) not in loaded:
            config = {"params": KL} if kind == "kl" else None
            vae = comfy.sd.VAE(sd=weights_of(kind), config=config, dtype=dtype)
            loaded[kind, dtype] = vae
        comfy.model_management.load_models_gpu([loaded[kind, dtype].patcher])
        return loaded[kind, dtype]

    return load


def latents(kind, size=3):
    return torch.randn(size, *SHAPES[kind], generator=torch.Generator().manual_seed(5))


def plain(x):
    return x


def theirs(vae, z):
    out = vae.decode(z)
    return out[:, 0] if out.ndim == 5 else out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", SHAPES)
def test_pictures_are_those_of_vae_decode(vaes, kind, dtype):
    vae, z = vaes(kind, dtype), latents(kind)
    got = Decoder(vae, lambda x: x / 2)(z)
    assert got.dtype == torch.float32
    want = theirs(vae, z / 2).float()
    assert float(want.std()) > 0.02
    torch.testing.assert_close(got, want, atol=1e-5 if dtype == torch.float32 else 0.02, rtol=0)


def test_a_frame_of_a_video_model_is_a_picture_for_a_picture_vae(vaes):
    z = latents("kl")
    assert torch.equal(Decoder(vaes("kl"), plain)(z[:, :, None]), Decoder(vaes("kl"), plain)(z))


@pytest.mark.parametrize("how", [FULL, TILED, HALF])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_gradient_is_that_of_a_network_that_autograd_knows(vaes, kind, how, monkeypatch):
    """Beside the same weights, as plain parameters, and the host's own arithmetic."""
    monkeypatch.setattr("realign.nodes.reward.decoded.TILE", 64)  # one tile
    vae, z = vaes(kind), latents(kind)
    with torch.inference_mode(False), torch.enable_grad():
        known = network(kind)
        known.load_state_dict(weights_of(kind))
        for one in (x := z.clone().requires_grad_(), y := z.clone().requires_grad_()):
            assert not one.is_inference()
        small = torch.nn.functional.avg_pool2d(y.flatten(1, -3), 2).unflatten(1, y.shape[1:-2]) if how == HALF else y
        out = vae.process_output(known.decode(small).clone()).reshape(3, 3, *[-1] * 0, -1)
        pictures = Decoder(vae, plain, how)(x).movedim(-1, 1).reshape(3, 3, -1)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (got,) = torch.autograd.grad((pictures * weight).sum(), x)
        (want,) = torch.autograd.grad((out * weight).sum(), y)
    assert float(want.abs().max()) > 1e-3
    torch.testing.assert_close(got, want, atol=1e-4 * float(want.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("shape", [(20, 33), (16, 16), (9, 50)])
def test_tiles_join_without_a_seam(shape):
    """Where a decoder looks at nothing beyond its pixel, tiles are the whole, gradient and all."""
    z = torch.randn(2, 3, *shape)

    def decode(x):
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2) ** 2

    with torch.inference_mode(False), torch.enable_grad():
        x = z.clone().requires_grad_()
        parts, whole = tiled(decode, x, 16, 4), decode(x)
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
        (got,) = torch.autograd.grad(parts.cos().sum(), x)
        (want,) = torch.autograd.grad(whole.cos().sum(), x)
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("how", "by"), [(HALF, 2), (QUARTER, 4)])
def test_smaller_pictures(vaes, how, by):
    z = latents("taesd")
    got = Decoder(vaes("taesd"), plain, how)(z)
    assert got.shape[1:3] == (6 // by * 8, 8 // by * 8)


def test_where_memory_is_short_it_goes_on_in_tiles(vaes, monkeypatch):
    vae, z = vaes("taesd"), latents("taesd")
    want, decoder, short = Decoder(vae, plain)(z), Decoder(vae, plain), [True]
    decode = vae.first_stage_model.decode

    def scarce(z):
        if short.pop() if short else False:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return decode(z)

    monkeypatch.setattr(vae.first_stage_model, "decode", scarce)
    torch.testing.assert_close(decoder(z), want)
    assert decoder.how == TILED


def test_nothing_is_loaded(vaes, monkeypatch):
    vae, z = vaes("kl"), latents("kl")
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *_, **__: pytest.fail("a model was loaded"))
    Decoder(vae, plain)(z)


def test_a_video_is_refused(vaes):
    with pytest.raises(RewardError, match="videos of 5 frames"):
        Decoder(vaes("wan"), plain)(torch.randn(2, 16, 2, 6, 8))


def test_a_vae_of_another_model_is_refused(vaes):
    judge = Judge(PICTURE_REWARDS["colourfulness"], Decoder(vaes("taesd"), plain))
    judge.rehearse((4, 6, 8), True)
    with pytest.raises(RewardError, match=r"cannot decode latents of the shape \(16, 6, 8\)"):
        judge.rehearse((16, 6, 8), True)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError(), RewardError, "the computer's memory is full"),
        (comfy.model_management.ACCELERATOR_ERROR("CUDA error: out of memory"), RuntimeError, "out of memory"),
    ],
)
def test_a_full_memory_is_not_said_of_the_vae(error, kind, words):
    def full(latents):
        raise error

    judge = Judge(PICTURE_REWARDS["colourfulness"], Decoder(SimpleNamespace(patcher=None, device="cpu"), full))
    judge.at_once = lambda *_: 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "load_models_gpu", lambda models: None)
        with pytest.raises(kind, match=words) as raised:
            judge.rehearse((4, 6, 8), False)
    assert "connect the VAE" not in str(raised.value)


def test_how_many_at_once_is_what_memory_has(vaes, monkeypatch):
    vae = vaes("kl")
    one = vae.memory_used_decode((1, 4, 64, 64), vae.vae_dtype)
    monkeypatch.setattr(vae.patcher, "get_free_memory", lambda device: 5.5 * one)
    assert Decoder(vae, plain).at_once((4, 64, 64), False, 16) == 5
    assert Decoder(vae, plain).at_once((4, 64, 64), True, 16) == 1
    assert Decoder(vae, plain, HALF).at_once((4, 64, 64), False, 16) == 16
