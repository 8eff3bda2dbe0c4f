"""What acts on each element of a batch by itself: only then may pictures of a sweep be sampled as one batch.

A picture must not depend on those beside it. What is not known to be so is sampled one picture at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import comfy.hooks
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..models.reach import ATOMS, made_by
from .call import KEY
from .posterior import is_posterior
from .steps import ADAPTIVE, chooses_its_steps

# Options of the host's samplers; others may draw from the global random state (s_churn) or look at the whole batch
# (noise_clip_std).
OPTIONS = {"eta", "s_noise", "s_noise_end", "solver_type", "r", "r_1", "r_2", "order", "max_order", "deis_mode"}
OPTIONS |= {"ge_gamma", "max_stage", "tau_func", "predictor_order", "corrector_order", "use_pece", "simple_order_2"}
# Nodes of the host whose functions do, by module and class: three pictures at once were those of three runs
# (tests/host/test_every_node.py).
NODES = {
    "comfy_api.torch_helpers.torch_compile.apply_torch_compile_factory",
    "comfy_extras.nodes_apg.APG",
    "comfy_extras.nodes_cfg.CFGNorm",
    "comfy_extras.nodes_cfg.CFGZeroStar",
    "comfy_extras.nodes_custom_sampler.CFGOverride",
    "comfy_extras.nodes_differential_diffusion.DifferentialDiffusion",
    "comfy_extras.nodes_eps.EpsilonScaling",
    "comfy_extras.nodes_freelunch.FreeU",
    "comfy_extras.nodes_freelunch.FreeU_V2",
    "comfy_extras.nodes_fresca.FreSca",
    "comfy_extras.nodes_hypertile.HyperTile",
    "comfy_extras.nodes_model_advanced.RescaleCFG",
    "comfy_extras.nodes_model_downscale.PatchModelAddDownscale",
    "comfy_extras.nodes_nag.NAGuidance",
    "comfy_extras.nodes_pag.PerturbedAttentionGuidance",
    "comfy_extras.nodes_sag.SelfAttentionGuidance",
    "comfy_extras.nodes_slg.SkipLayerGuidanceDiTSimple",
    "comfy_extras.nodes_tcfg.TCFG",
}
# Networks of the host that do, by class in comfy.model_base: three λ at once were those of three runs
# (tests/host/test_sweep_networks.py). ACE-Step 1.5 mixes a batch, MiniMax H3 takes none, and SVD's is a video.
# fmt: off
NETWORKS = {
    "ACEStep", "Anima", "AuraFlow", "BaseModel", "Boogu", "Chroma", "ChromaRadiance", "CogVideoX", "CosmosPredict2",
    "CosmosVideo", "ErnieImage", "Flux", "Flux2", "GenmoMochi", "HiDream", "HiDreamO1", "Hunyuan3Dv2",
    "Hunyuan3Dv2_1", "HunyuanDiT", "HunyuanImage21", "HunyuanImage21Refiner", "HunyuanVideo", "HunyuanVideo15",
    "HunyuanVideo15_SR_Distilled", "HunyuanVideoI2V", "HunyuanVideoSkyreelsI2V", "Ideogram4", "JoyImage",
    "Kandinsky5", "Kandinsky5Image", "Krea2", "LTXAV", "LTXV", "Lens", "LongCatImage", "Lotus", "Lumina2", "MageFlow",
    "Omnigen2", "PiD", "PixArt", "PixelDiTT2I", "QwenImage", "SD15_instructpix2pix", "SD21UNCLIP", "SD3", "SDXL",
    "SDXLRefiner", "SDXL_instructpix2pix", "SD_X4Upscaler", "SeedVR2", "StableAudio1", "StableAudio3",
    "StableCascade_B", "StableCascade_C", "Stable_Zero123", "TripoSplat", "WAN21", "WAN21_Camera", "WAN21_CausalAR",
    "WAN21_FlowRVS", "WAN21_HuMo", "WAN21_SCAIL", "WAN21_SCAIL2", "WAN21_Vace", "WAN22", "WAN22_Animate", "WAN22_S2V",
    "WAN22_WanDancer", "ZImagePixelSpace",
}
# fmt: on
GUIDERS = {
    "comfy.samplers.CFGGuider",
    "comfy_extras.nodes_custom_sampler.Guider_Basic",
    "comfy_extras.nodes_custom_sampler.Guider_DualCFG",
    "comfy_extras.nodes_custom_sampler.Guider_DualModel",
}
REPLACED = {"model_sampling", "latent_format"}  # parts of a model that nodes may replace


def draws_can_be_shared(sampler: Any, denoise_mask: Tensor | None) -> bool:
    """Whether each element of a batch can be given the noise that it would have alone, and depends on no other."""
    if type(sampler) is not comfy.samplers.KSAMPLER:
        return False
    function, options = sampler.sampler_function, sampler.extra_options
    known = function.__module__.startswith("comfy.") or is_posterior(sampler)
    draws_over_the_mask = sampler.inpaint_options.get("random", False) and denoise_mask is not None
    by_element = options.keys() <= OPTIONS or is_posterior(sampler)
    return known and by_element and not chooses_its_steps(sampler, ADAPTIVE) and not draws_over_the_mask


def may_couple(guider: Any, anchors: Iterable[ModelPatcher]) -> set[str]:
    """What is not known to act by element: nodes with something on a model or a conditioning, and the guider."""
    put_on: list[Any] = []
    for patcher in (guider.model_patcher, *anchors):
        replaced = {key: value for key, value in patcher.object_patches.items() if key not in REPLACED}
        put_on += _leaves([patcher.model_options, _others(patcher.wrappers), replaced])
    hooks = [hook for cond in guider.conds.values() for c in cond if c.get("hooks") for hook in c["hooks"].hooks]
    put_on += [hook for hook in hooks if not isinstance(hook, comfy.hooks.WeightHook)]
    return {made_by(one) for one in put_on} - NODES | {made_by(guider)} - GUIDERS


def unknown_networks(patchers: Iterable[ModelPatcher]) -> set[str]:
    """Networks that are not known to act by element."""
    return {made_by(patcher.model) for patcher in patchers} - {f"comfy.model_base.{name}" for name in NETWORKS}


def quoted(names: Iterable[str]) -> str:
    """Of nodes or networks, as a sentence has them."""
    return ", ".join(f"“{name.rsplit('.', 1)[-1]}”" for name in sorted(names))


def _others(wrappers: dict[str, dict[Any, list[Any]]]) -> list[Any]:
    return [w for by_key in wrappers.values() for key, some in by_key.items() if key != KEY for w in some]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)
    elif not isinstance(value, ATOMS):
        yield value
