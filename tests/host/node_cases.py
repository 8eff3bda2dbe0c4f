"""What the host's nodes are given in test_every_node.py: small networks, and small things for every kind of input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import comfy.ops
import folder_paths
import networks
import torch
from comfy.model_patcher import CoreModelPatcher
from networks import CPU, Network, drawn
from safetensors.torch import save_file
from specs import NETWORKS
from specs_unet import TWO_LEVELS, UNET
from specs_video import WAN

ATTENTION_FIRST = TWO_LEVELS | dict(transformer_depth=[1, 0], transformer_depth_output=[1, 1, 0, 0])
THREE_LEVELS = UNET | dict(transformer_depth=[0] * 3, transformer_depth_output=[0] * 6)  # FreeU wants 2× and 4×

# The networks that cases run on, by name: one of the host's list, made as specs.py says or a bit otherwise.
KINDS: dict[str, tuple[str, Network]] = {name: (name, network) for name, network in NETWORKS.items()}
KINDS["SD15"] = "SD15", Network(ATTENTION_FIRST, (4, 8, 8))
KINDS["SD15, three levels"] = "SD15", Network(THREE_LEVELS, (4, 8, 8))
KINDS["HiDreamO1, larger"] = "HiDreamO1", replace(NETWORKS["HiDreamO1"], latent=(3, 96, 96))
KINDS["Anima, one frame"] = "Anima", replace(NETWORKS["Anima"], latent=(16, 1, 8, 8))
KINDS["long Wan"] = "WAN21_T2V", Network(WAN, (16, 9, 4, 4))
KINDS["long LTXV"] = "LTXV", replace(NETWORKS["LTXV"], latent=(128, 9, 2, 2))
KINDS["talking Wan"] = "WAN21_I2V", Network(WAN | dict(dim=240, num_heads=5), (16, 3, 4, 4), batch=1)
KINDS["Flux2, with a picture"] = (
    "Flux2",
    replace(
        NETWORKS["Flux2"],
        config=NETWORKS["Flux2"].config | dict(guidance_embed=False),
        options=lambda draw: {"reference_latents": [draw(1, 128, 2, 2)]},
    ),
)


class Stage:
    """One kind of network with all that its cases share. Each model is made once, on weights of its own."""

    def __init__(self, kind: str):
        self.name, self.network = KINDS[kind]
        self.conds = [networks.conditioning(self.network, seed) for seed in (1, 2)]
        self.latent = networks.latent(self.network, self.network.batch)

    @cache  # noqa: B019 (stages live as long as the tests)
    def model(self, role: str) -> CoreModelPatcher:
        """role: “reference”, “anchor” or “third”, and a word that tells copies apart."""
        moved, seed = {"reference": (0.0, 1), "anchor": (0.3, 1), "third": (0.0, 9)}[role.split()[0]]
        return networks.build(self.name, self.network, moved, seed)


stage = cache(Stage)


class Vae:
    """Stands in for a VAE: an image's averages over squares, as a latent of so many channels."""

    audio_sample_rate = 16000

    def __init__(self, channels: int, frames: bool = False, size: int = 8):
        self.channels, self.frames, self.size = channels, frames, size
        self.patcher = None

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), self.size)
        out = small.mean(1, keepdim=True) * torch.linspace(-1, 1, self.channels).reshape(-1, 1, 1)
        return out[::4].movedim(0, 1)[None] if self.frames else out

    def spacial_compression_encode(self) -> int:
        return self.size

    def temporal_compression_decode(self) -> int:
        return 4


class AudioVae(Vae):
    def __init__(self) -> None:
        super().__init__(8)

    def encode(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, samples, channels) -> (B, 8, 3, 16)."""
        return waveform.mean(-1)[:, : 8 * 3 * 16].reshape(-1, 8, 3, 16)


def picture(height: int = 64, width: int = 64, frames: int = 1) -> torch.Tensor:
    return drawn(21)(frames, height, width, 3).sigmoid()


def patch(module: torch.nn.Module) -> CoreModelPatcher:
    """MODEL_PATCH, as the host's ModelPatchLoader gives it, of random weights."""
    networks.fill(module, drawn(23), 0.5)
    return CoreModelPatcher(module.eval(), CPU, CPU)


# The parts of these nodes are imported here: an older host has not all of them.
SMALL = dict(device=CPU, dtype=torch.float32, operations=comfy.ops.manual_cast)


def qwen_control(_: Stage) -> dict[str, Any]:
    from comfy_extras.nodes_model_patch import QwenImageBlockWiseControlNet

    module = QwenImageBlockWiseControlNet(num_layers=1, in_dim=64, dim=64, **SMALL)
    return {"model_patch": patch(module), "vae": Vae(16, frames=True), "image": picture()}


def zimage_control(_: Stage) -> dict[str, Any]:
    from comfy.ldm.lumina.controlnet import ZImage_Control

    size = dict(dim=256, n_heads=8, n_kv_heads=8, multiple_of=16, ffn_dim_multiplier=1.0, n_control_layers=1)
    module = ZImage_Control(**size, **SMALL)
    return {"model_patch": patch(module), "vae": Vae(16), "image": picture()}


def uni3c(_: Stage) -> dict[str, Any]:
    from comfy.ldm.wan.uni3c import WanUni3CControlnet

    size = dict(conv_out_dim=64, dim=64, ffn_dim=64, num_heads=2, num_layers=1, time_embed_dim=96, out_proj_dim=96)
    module = WanUni3CControlnet(**size, mid_channels=16, **SMALL)
    return {"model_patch": patch(module), "vae": Vae(16, frames=True), "render_video": picture(frames=5)}


def style(_: Stage) -> dict[str, Any]:
    from comfy_extras.nodes_model_patch import SigLIPMultiFeatProjModel

    size = dict(siglip_token_nums=4, style_token_nums=2, siglip_token_dims=16, hidden_size=64)
    seen = SimpleNamespace(all_hidden_states=drawn(25)(1, 27, 4, 16), penultimate_hidden_states=drawn(26)(1, 4, 16))
    module = SigLIPMultiFeatProjModel(**size, **SMALL)
    return {"model_patch": patch(module), "clip_vision_output": seen}


def talk(_: Stage) -> dict[str, Any]:
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    size = dict(audio_window=5, intermediate_dim=16, in_dim=240, out_dim=768, context_tokens=2, num_layers=1)
    module = MultiTalkModelPatch(**size, **SMALL)
    heard = {"encoded_audio_all_layers": list(drawn(27)(13, 1, 40, 768))}
    return {
        "mode": {"mode": "single_speaker"}, "model_patch": patch(module), "vae": Vae(16, frames=True),
        "width": 32, "height": 32, "length": 9, "audio_encoder_output_1": heard, "start_image": picture(32, 32),
    }  # fmt: skip


def lllite(_: Stage) -> dict[str, Any]:
    from comfy.ldm.anima.lllite import AnimaLLLite

    names = {"conv1": (8, 3, 4, 4), "conv3": (16, 8, 4, 4), "proj": (8, 16, 1, 1)}
    parts = {f"lllite_conditioning1.{name}.weight": torch.empty(shape) for name, shape in names.items()}
    for target in ("self_attn_q_proj", "self_attn_v_proj", "cross_attn_q_proj", "mlp_layer1"):
        parts[f"lllite_dit_blocks_0_{target}.down.weight"] = torch.empty(8, 64)
        parts[f"lllite_dit_blocks_0_{target}.cond_to_film.weight"] = torch.empty(16, 8)
    return {"model_patch": patch(AnimaLLLite(parts, None, **SMALL)), "image": picture()}


def splats(_: Stage) -> dict[str, Any]:
    vae = Vae(16)
    vae.vae_dtype = torch.float32
    vae.first_stage_model = SimpleNamespace(gaussians_per_point=32, gs=SimpleNamespace(model_channels=8))
    return {"vae": vae}


def lora_weights(stage: Stage) -> dict[str, torch.Tensor]:
    """Of a LoRA file on every Linear."""
    draw, out = drawn(31), {}
    for name, layer in stage.model("reference").model.diffusion_model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            rows, columns = layer.weight.shape
            out[f"diffusion_model.{name}.lora_up.weight"] = 0.3 * draw(rows, 2)
            out[f"diffusion_model.{name}.lora_down.weight"] = draw(2, columns) / columns**0.5
    return out


def lora_file(stage: Stage) -> dict[str, Any]:
    folder = folder_paths.get_folder_paths("loras")[0]
    save_file(lora_weights(stage), f"{folder}/every_node_{stage.name}.safetensors")
    return {"lora_name": f"every_node_{stage.name}.safetensors", "clip": None, "strength_clip": 0.0}


def hypernetwork(_: Stage) -> dict[str, Any]:
    folder = folder_paths.get_folder_paths("loras")[0]
    folder_paths.add_model_folder_path("hypernetworks", folder)
    draw = drawn(33)
    parts = {dim: [{"linear.0.weight": draw(dim, dim) / dim, "linear.0.bias": draw(dim) / 9}] * 2 for dim in (64, 128)}
    torch.save(parts, f"{folder}/every_node.pt")
    return {"hypernetwork_name": "every_node.pt"}


@dataclass(frozen=True)
class Recipe:
    """How a node gets a case that shows something. What is not said is the schema's own."""

    kinds: tuple[str, ...] = ("SD3", "SD15")  # the first has all cases, the others a few
    given: Mapping[str, Any] | Callable[[Stage], Mapping[str, Any]] = field(default_factory=dict)
    steps: int = 3
    cfg: float = 4.0
    rounds: bool = False  # to a number format, so that two right answers differ as much as it moves the picture
    few: bool = False  # two cases at its defaults are enough: slow, or one of many alike
    fixed: tuple[str, ...] = ()  # inputs without ends: sizes, layers, what a network must have
    latent: Callable[[dict[str, Any]], dict[str, Any]] = lambda latent: latent


def of(*kinds: str, **given: Any) -> Recipe:
    return Recipe(kinds, given)


def masked(latent: dict[str, Any]) -> dict[str, Any]:
    ramp = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    return {"samples": torch.ones_like(latent["samples"]) * 0.1, "noise_mask": ramp}


SIZES = ("width", "height", "length", "batch_size")
RECIPES: dict[str, Recipe] = {
    "APG": Recipe(given={"norm_threshold": 1.0, "momentum": -0.5}),
    "AnimaLLLiteApply": Recipe(("Anima, one frame",), lllite),
    "ARVideoI2V": Recipe(
        ("WAN21_CausalAR_T2V",), {"vae": Vae(16, frames=True), "width": 64, "height": 64, "length": 5}, fixed=SIZES
    ),
    "ChromaRadianceOptions": of("ChromaRadiance", force_sequential_txt_ids=True),
    "ContextWindowsManual": of("long Wan", context_length=4, context_overlap=1, dim=2),
    "DifferentialDiffusion": Recipe(latent=masked),
    "EasyCache": Recipe(("SD15",), steps=12),
    "FluxKVCache": of("Flux2, with a picture"),
    "FreeU": of("SD15, three levels"),
    "FreeU_V2": of("SD15, three levels"),
    "FreSca": Recipe(given={"freq_cutoff": 2}),
    "HiDreamO1PatchSeamSmoothing": Recipe(("HiDreamO1, larger",), {"start_percent": 0.0}),
    "HyperTile": of("SD15", tile_size=32),
    "HypernetworkLoader": Recipe(("SD15",), hypernetwork),
    "LazyCache": Recipe(("SD3",), steps=12),
    "LTXVContextWindows": of("long LTXV", context_length=32, context_overlap=8),
    "LTXVReferenceAudio": Recipe(("LTXAV",), {"audio_vae": AudioVae()}),
    "LoraLoader": Recipe(given=lora_file),
    "LoraLoaderBypass": Recipe(given=lora_file),
    "LoraLoaderBypassModelOnly": Recipe(given=lora_file),
    "LoraLoaderModelOnly": Recipe(given=lora_file),
    "LoraModelLoader": Recipe(given=lambda stage: {"lora": lora_weights(stage)}),
    "MiniMaxH3SigmaShift": of("MiniMaxH3", shift_video=5.0, shift_audio=6.0),
    "ModelComputeDtype": Recipe(("SD3",), {"dtype": "bf16"}, rounds=True),
    "ModelMergeAdd": of("SD3"),
    "ModelMergeSimple": of("SD3", ratio=0.5),
    "ModelMergeSubtract": of("SD3"),
    "ModelMergeBlocks": Recipe(("SD15",), {"input": 0.5, "out": 0.25}, few=True),
    "ModelNoiseScale": of("SD3", noise_scale=1.5),
    "ModelSamplingDiscrete": of("SD15", "SD3", sampling="v_prediction"),
    "ModelSamplingContinuousEDM": of("SD15"),
    "ModelSamplingContinuousV": of("SD15"),
    "ModelSamplingSD3": of("SD3", shift=2.0),
    "ModelSamplingLTXV": of("LTXV", max_shift=1.5),
    "ModelSamplingStableCascade": Recipe(("SD15",), {"shift": 1.5}, few=True),
    "NAGuidance": of("SD15"),
    "PatchModelAddDownscale": of("SD15", block_number=1),
    "PerturbedAttentionGuidance": of("SD15"),
    "QwenImageDiffsynthControlnet": Recipe(("QwenImage",), qwen_control),
    "ScaleROPE": of("Lumina2", scale_x=1.5, shift_y=3.0),
    "SelfAttentionGuidance": of("SD15"),
    "SkipLayerGuidanceDiT": of("SD3", double_layers="0", single_layers="0", end_percent=0.8),
    "SkipLayerGuidanceDiTSimple": of("SD3", double_layers="0", single_layers="0", end_percent=0.8),
    "SkipLayerGuidanceSD3": of("SD3", layers="0", end_percent=0.8),
    "TomePatchModel": of("SD15", ratio=0.6),
    "TorchCompileModel": Recipe(
        ("SD3",), {"backend": "cudagraphs"}, few=True
    ),  # the one that compiles nothing on a CPU
    "TripoSplatSamplingPreview": Recipe(("TripoSplat",), splats),
    "UNetCrossAttentionMultiply": of("SD15", q=1.5, out=0.5),
    "UNetSelfAttentionMultiply": of("SD15", q=1.5, out=0.5),
    "UNetTemporalAttentionMultiply": of("SVD_img2vid", self_temporal=0.5, cross_structural=1.5),
    "USOStyleReference": Recipe(("Flux",), style, cfg=1.0),
    "WanContextWindowsManual": of("long Wan", context_length=16, context_overlap=4),
    "WanInfiniteTalkToVideo": Recipe(("talking Wan",), talk, cfg=1.0, fixed=SIZES),
    "WanUni3CControlnetApply": Recipe(("WAN21_T2V",), uni3c),
    "ZImageFunControlnet": Recipe(("ZImage",), zimage_control),
}
MERGED = {
    "SD1": "SD15", "SD2": "SD20", "SDXL": "SDXL", "SD3_2B": "SD3", "SD35_Large": "SD3", "Auraflow": "AuraFlow",
    "Flux1": "Flux", "MochiPreview": "GenmoMochi", "LTXV": "LTXV", "Cosmos7B": "CosmosT2V", "Cosmos14B": "CosmosT2V",
    "CosmosPredict2_2B": "CosmosT2IPredict2", "CosmosPredict2_14B": "CosmosT2IPredict2", "WAN2_1": "WAN21_T2V",
    "QwenImage": "QwenImage", "Krea2": "Krea2",
}  # fmt: skip
for suffix, kind in MERGED.items():
    ratios = {"others": lambda name: (0.25, 0.75)[len(name) % 2]}
    RECIPES[f"ModelMerge{suffix}"] = Recipe((kind,), ratios, few=True)
