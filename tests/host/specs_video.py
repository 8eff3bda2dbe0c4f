"""Small arguments of the host's networks for video, sound and shapes."""

from __future__ import annotations

import comfy.ops
import torch
from networks import Network, masked, pooled
from specs_image import HUNYUAN, KANDINSKY

# fmt: off
VIDEO = (16, 2, 8, 8)
OPERATIONS = dict(dtype=torch.float32, operations=comfy.ops.disable_weight_init)
HUNYUAN_15 = HUNYUAN | dict(
    out_channels=32, patch_size=[1, 1, 1], vec_in_dim=None, vision_in_dim=32, meanflow_sum=True, guidance_embed=False,
    use_cond_type_embedding=True, byt5=True,
)
MOCHI = dict(
    depth=2, patch_size=2, num_heads=2, hidden_size_x=64, hidden_size_y=32, mlp_ratio_x=192.0, mlp_ratio_y=4.0,
    learn_sigma=False, in_channels=12, qk_norm=True, qkv_bias=False, out_bias=True, attn_drop=0.0,
    patch_embed_bias=True, posenc_preserve_area=True, timestep_mlp_bias=True, attend_to_padding=False,
    timestep_scale=1000.0, use_t5=True, t5_feat_dim=64, t5_token_length=6, rope_theta=10000.0,
)
LTXV = dict(num_layers=1, attention_head_dim=16, num_attention_heads=2, cross_attention_dim=32, caption_channels=64)
LTXAV = LTXV | dict(
    audio_cross_attention_dim=32, audio_attention_head_dim=16, audio_num_attention_heads=2, audio_in_channels=128,
    connector_attention_head_dim=16, connector_num_attention_heads=3, connector_num_layers=1, caption_channels=48,
)
MINIMAX = dict(
    hidden_size=64, num_layers=1, token_refiner_num_layers=1, num_attention_heads=2, attention_head_dim=32,
    ffn_hidden_size=64, text_dim=64, timestep_input_dim=32, time_embed_hidden_size=64, time_embed_dim=32,
    rope_inv_freq_len=4,
)
COSMOS_2 = dict(
    max_img_h=32, max_img_w=32, max_frames=16, out_channels=16, patch_spatial=2, patch_temporal=1, model_channels=64,
    concat_padding_mask=True, num_blocks=1, num_heads=2, crossattn_emb_channels=64, pos_emb_cls="rope3d",
    use_adaln_lora=True, adaln_lora_dim=16,
)
COSMOS = COSMOS_2 | dict(
    block_x_format="THWBD", affline_emb_norm=True, extra_per_block_abs_pos_emb=True,
    extra_per_block_abs_pos_emb_type="learnable",
)
COSMOS_2 |= dict(rope_enable_fps_modulation=False)
WAN = dict(
    dim=96, out_dim=16, num_heads=2, ffn_dim=64, num_layers=1, patch_size=(1, 2, 2), freq_dim=32, text_dim=64,
    window_size=(-1, -1), qk_norm=True, cross_attn_norm=True, eps=1e-6, in_dim=16,
)
DANCER = dict(audio_inject_layers=[0], music_dim=16, music_heads=2, music_latent_dim=16)
SHAPE = dict(
    in_channels=64, context_in_dim=64, hidden_size=64, mlp_ratio=4.0, num_heads=2, depth=1, depth_single_blocks=1,
    qkv_bias=True, guidance_embed=False,
)
SHAPE_21 = dict(
    in_channels=64, hidden_size=64, context_dim=64, depth=2, num_heads=2, qkv_bias=False, guidance_cond_proj_dim=None,
    num_moe_layers=1, num_experts=2, moe_top_k=1,
)
SPLAT = dict(
    q_token_length=16, model_channels=64, cond_channels=64, num_blocks=1, num_refiner_blocks=1, num_head_channels=32,
)
SEEDVR = dict(
    vid_dim=64, heads=2, head_dim=32, num_layers=2, norm_eps=1e-5, mlp_type="swiglu", txt_in_dim=64, rope_dim=32,
    mm_layers=1,
)
SOUND = dict(embed_dim=64, cond_token_dim=768, project_cond_tokens=True, depth=1, num_heads=2)
SOUND_3 = SOUND | dict(
    io_channels=256, global_cond_dim=768, timestep_features_type="expo", global_cond_type="adaLN", num_memory_tokens=2,
    local_add_cond_dim=257,
)
ACE = dict(
    attention_head_dim=32, in_channels=8, inner_dim=64, max_height=16, max_position=64, max_width=64, mlp_ratio=2.0,
    num_attention_heads=2, num_layers=1, out_channels=8, patch_size=[16, 1], rope_theta=1e6, text_embedding_dim=64,
    ssl_encoder_depths=[1, 1], ssl_latent_dims=[16, 16], lyric_encoder_vocab_size=32, lyric_hidden_size=64,
)
ACE_15 = dict(
    hidden_size=64, text_hidden_dim=64, num_dit_layers=1, num_lyric_layers=1, num_timbre_layers=1,
    num_tokenizer_layers=1, num_heads=2, num_kv_heads=1, head_dim=32, intermediate_size=64, encoder_hidden_size=64,
    encoder_intermediate_size=64, encoder_num_heads=2, fsq_dim=64,
)
COGVIDEO = dict(
    num_attention_heads=2, attention_head_dim=32, time_embed_dim=32, text_embed_dim=64, num_layers=1,
    use_rotary_positional_embeddings=True,
)


# Parts of networks whose size stands in the host's code. They are imported here: an older host has not all of them.


def small_lyrics(module):
    from comfy.ldm.ace.lyric_encoder import ConformerEncoder

    module.lyric_encoder = ConformerEncoder(
        64, output_size=64, attention_heads=2, linear_units=64, num_blocks=1, static_chunk_size=0, **OPERATIONS
    )


def small_adapter(module):
    from comfy.ldm.anima.model import LLMAdapter

    module.llm_adapter = LLMAdapter(64, 64, 64, num_layers=1, num_heads=2, **OPERATIONS)


def small_sound(module):
    from comfy.ldm.wan.model import AudioProjModel

    module.audio_proj = AudioProjModel(
        seq_len=8, blocks=5, channels=4, intermediate_dim=16, output_dim=1536, context_tokens=16, **OPERATIONS
    )


def no_faces(module):
    module.motion_encoder = torch.nn.Identity()


# Weights beside the network's, and what else a conditioning holds.


def seconds(*names, **kind):
    """Of the host's NumberConditioner, for each name."""

    def weights(draw):
        from comfy.ldm.audio.embedders import NumberConditioner

        out = {}
        for name in names:
            module = NumberConditioner(768, min_val=0, max_val=512, **kind)
            for key, value in module.state_dict().items():
                out[f"conditioner.conditioners.{name}.{key}"] = draw(*value.shape) / value.shape[-1] ** 0.5
        return out

    return weights


def t5_ids(draw):
    return {"t5xxl_ids": (draw(6).abs() * 9).long(), "t5xxl_weights": draw(6).abs()}


def lyrics(draw):
    return {"conditioning_lyrics": (draw(1, 5).abs() * 9).long()}


def sung(draw):
    return {"conditioning_lyrics": draw(1, 5, 64)}


def low_quality(draw):
    return {"condition": draw(1, 17, 2, 8, 8)}


def seen(draw):
    return {"reference_latents": [draw(1, 128, 2, 2)]}


VIDEOS = {
    "GenmoMochi": Network(MOCHI, (12, 2, 8, 8), options=masked),
    "LTXV": Network(LTXV, (128, 2, 4, 4), options=masked),
    "LTXAV": Network(LTXAV, [(128, 2, 4, 4), (8, 4, 16)], (6, 48)),
    "MiniMaxH3": Network(MINIMAX, [(24, 2, 8, 8), (32, 2, 4)]),
    "HunyuanVideo15_SR_Distilled": Network(
        HUNYUAN_15 | dict(in_channels=98, meanflow=True), (32, 2, 4, 4), options=pooled(32)
    ),
    "HunyuanVideo15": Network(HUNYUAN_15 | dict(in_channels=65), (32, 2, 4, 4), options=pooled(32)),
    "HunyuanVideoSkyreelsI2V": Network(HUNYUAN | dict(in_channels=32), VIDEO, options=pooled(32)),
    "HunyuanVideoI2V": Network(HUNYUAN | dict(in_channels=33), VIDEO, options=pooled(32)),
    "HunyuanVideo": Network(HUNYUAN, VIDEO, options=pooled(32)),
    "CosmosT2V": Network(COSMOS | dict(in_channels=16), VIDEO),
    "CosmosI2V": Network(COSMOS | dict(in_channels=17), VIDEO),
    "CosmosT2IPredict2": Network(COSMOS_2 | dict(in_channels=16), VIDEO),
    "CosmosI2VPredict2": Network(COSMOS_2 | dict(in_channels=17), VIDEO),
    "Anima": Network(COSMOS_2 | dict(in_channels=16), VIDEO, shrink=small_adapter, options=t5_ids),
    "WAN22_T2V": Network(WAN | dict(in_dim=48, out_dim=48), (48, 2, 4, 4)),
    "WAN21_CausalAR_T2V": Network(WAN, VIDEO),
    "WAN21_T2V": Network(WAN, VIDEO),
    "WAN21_I2V": Network(WAN | dict(in_dim=36), VIDEO),
    "WAN21_FunControl2V": Network(WAN | dict(in_dim=48), VIDEO),
    "WAN21_Vace": Network(WAN | dict(vace_layers=1, vace_in_dim=96), VIDEO),
    "WAN21_Camera": Network(WAN | dict(in_dim=32, in_dim_control_adapter=24), VIDEO),
    "WAN22_Camera": Network(WAN | dict(in_dim=36, in_dim_control_adapter=24), VIDEO),
    "WAN22_S2V": Network(WAN | dict(audio_dim=16, audio_inject_layers=[0]), VIDEO),
    "WAN21_HuMo": Network(WAN | dict(audio_token_num=16), VIDEO, shrink=small_sound),
    "WAN22_Animate": Network(WAN | dict(motion_encoder_dim=512), VIDEO, shrink=no_faces),
    "WAN21_FlowRVS": Network(WAN, VIDEO),
    "WAN21_SCAIL": Network(WAN | dict(in_dim=20), VIDEO),
    "WAN21_SCAIL2": Network(WAN | dict(in_dim=20), VIDEO),
    "WAN22_WanDancer": Network(WAN | DANCER | dict(in_dim=36), VIDEO),
    "SeedVR2": Network(SEEDVR, VIDEO, options=low_quality),
    "Kandinsky5": Network(KANDINSKY, VIDEO, options=pooled(32)),
    "CogVideoX_Inpaint": Network(COGVIDEO | dict(in_channels=48), VIDEO),
    "CogVideoX_I2V": Network(COGVIDEO | dict(in_channels=32), VIDEO),
    "CogVideoX_T2V": Network(COGVIDEO, VIDEO),
    "StableAudio3": Network(
        SOUND_3, (256, 16), (6, 768), beside=seconds("seconds_total", fourier_features_type="expo")
    ),
    "StableAudio": Network(
        SOUND | dict(io_channels=64, global_cond_dim=1536, attn_kwargs={"qk_norm": "ln", "feat_scale": True}),
        (64, 16), (6, 768), beside=seconds("seconds_start", "seconds_total"),
    ),
    "ACEStep": Network(ACE, (8, 16, 8), shrink=small_lyrics, options=lyrics),
    "ACEStep15": Network(ACE_15, (64, 20), options=sung),
    "Hunyuan3Dv2mini": Network(SHAPE, (64, 16)),
    "Hunyuan3Dv2": Network(SHAPE, (64, 16)),
    "Hunyuan3Dv2_1": Network(SHAPE_21, (64, 16)),
    "TripoSplat": Network(SPLAT, [(16, 16), (1, 5)], options=seen),
}
