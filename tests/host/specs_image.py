"""Small arguments of the host's diffusion transformers for pictures."""

from __future__ import annotations

from networks import Network, masked, pooled

# fmt: off
LATENT, DEEP = (16, 8, 8), (128, 4, 4)  # of VAEs with 16 channels, and of those with 128
SD3 = dict(
    in_channels=16, depth=1, patch_size=2, input_size=None, adm_in_channels=32, num_patches=64, pos_embed_max_size=8,
    context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 64}},
)
AURA = dict(dim=64, n_layers=2, n_double_layers=1, n_heads=2, global_conddim=64, cond_seq_dim=64, max_seq=64)
PIXART = dict(num_heads=2, hidden_size=96, depth=1, caption_channels=64, input_size=128, pe_interpolation=2)
HYDIT = dict(
    hidden_size=64, depth=2, num_heads=2, text_states_dim=64, text_states_dim_t5=32, text_len=6, text_len_t5=6
)
FLUX = dict(
    in_channels=16, out_channels=16, vec_in_dim=32, context_in_dim=64, hidden_size=64, mlp_ratio=4.0, num_heads=2,
    depth=1, depth_single_blocks=1, axes_dim=[8, 12, 12], theta=10000, patch_size=2, qkv_bias=True, txt_ids_dims=[],
)
FLUX_2 = FLUX | dict(
    in_channels=128, out_channels=128, axes_dim=[8, 8, 8, 8], mlp_ratio=3.0, theta=2000, global_modulation=True,
    mlp_silu_act=True, qkv_bias=False, ops_bias=False, default_ref_method="index", ref_index_scale=10.0,
    txt_ids_dims=[3], patch_size=1, vec_in_dim=None, guidance_embed=True,
)
CHROMA = FLUX | dict(
    in_channels=64, out_channels=64, in_dim=64, out_dim=64, hidden_dim=64, n_layers=1, vec_in_dim=None
)
RADIANCE = CHROMA | dict(
    in_channels=3, out_channels=3, patch_size=4, nerf_hidden_size=16, nerf_mlp_ratio=2, nerf_depth=1, nerf_max_freqs=2,
    nerf_tile_size=512, nerf_final_head_type="conv", nerf_embedder_dtype=None, use_x0=False,
    use_sequential_txt_ids=False,
)
LUMINA = dict(
    patch_size=2, in_channels=16, dim=64, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=1,
    axes_dims=[8, 12, 12], axes_lens=[64, 32, 32], qk_norm=True, cap_feat_dim=64, ffn_dim_multiplier=1.0,
    multiple_of=16,
)
Z_IMAGE = LUMINA | dict(dim=256, n_heads=8, n_kv_heads=8, z_image_modulation=True, time_scale=1000.0)
Z_PIXELS = dict(
    patch_size=4, in_channels=3, decoder_hidden_size=32, decoder_num_res_blocks=1, decoder_max_freqs=2,
    decoder_in_channels=48,
)
PIXELDIT = dict(
    num_groups=2, hidden_size=64, pixel_hidden_size=4, pixel_attn_hidden_size=64, pixel_num_groups=2, patch_depth=2,
    pixel_depth=1, patch_size=4, txt_embed_dim=64,
)
HIDREAM = dict(
    attention_head_dim=32, num_attention_heads=2, axes_dims_rope=[16, 8, 8], caption_channels=[64, 64],
    max_resolution=[16, 16], in_channels=16, out_channels=16, llama_layers=[0, 1], num_routed_experts=2,
    num_activated_experts=1, num_layers=1, num_single_layers=1, patch_size=2, text_emb_dim=32,
)
HIDREAM_O1 = dict(
    text_config_overrides=dict(
        vocab_size=151936, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, rope_dims=[4, 6, 6],
    ),
    vision_config_overrides=dict(
        hidden_size=32, num_heads=2, intermediate_size=32, depth=1, num_position_embeddings=16,
        deepstack_visual_indexes=(),
    ),
)
OMNIGEN = dict(
    axes_dim_rope=[8, 12, 12], axes_lens=[64, 32, 32], hidden_size=64, in_channels=16, multiple_of=16,
    num_attention_heads=2, num_kv_heads=1, num_layers=1, num_refiner_layers=1,
)
QWEN = dict(
    num_layers=1, attention_head_dim=32, num_attention_heads=2, joint_attention_dim=64, axes_dims_rope=(8, 12, 12)
)
LENS = dict(
    num_layers=1, attention_head_dim=32, num_attention_heads=2, enc_hidden_dim=64, axes_dims_rope=(8, 12, 12),
    multi_layer_encoder_feature=False, selected_layer_index=(0,),
)
IDEOGRAM = dict(
    num_attention_heads=2, attention_head_dim=32, intermediate_size=64, adaln_dim=32, llm_features_dim=64, num_layers=1,
    mrope_section=[4, 6, 6],
)
KREA = dict(features=64, tdim=32, txtdim=64, heads=2, kvheads=1, layers=1, txtlayers=2, txtheads=2, txtkvheads=2)
KANDINSKY = dict(
    model_dim=64, in_text_dim=64, in_text_dim2=32, time_dim=32, ff_dim=64, num_text_blocks=1, num_visual_blocks=1,
    axes_dims=(8, 12, 12),
)
HUNYUAN = dict(
    in_channels=16, out_channels=16, patch_size=[1, 2, 2], vec_in_dim=32, axes_dim=[8, 12, 12], meanflow=False,
    context_in_dim=64, hidden_size=64, mlp_ratio=4.0, num_heads=2, depth=1, depth_single_blocks=1, theta=256,
    qkv_bias=True, byt5=False, guidance_embed=True, use_cond_type_embedding=False, vision_in_dim=None,
    meanflow_sum=False,
)
HUNYUAN_IMAGE = HUNYUAN | dict(out_channels=64, vec_in_dim=None)
ERNIE = dict(
    hidden_size=64, num_attention_heads=2, num_layers=1, ffn_hidden_size=64, text_in_dim=64, rope_axes_dim=(8, 12, 12)
)


def two_encoders(draw):
    return masked(draw) | {"conditioning_mt5xl": draw(1, 6, 32), "attention_mask_mt5xl": masked(draw)["attention_mask"]}


def size(draw):
    return {"width": 64, "height": 64}


def low_resolution(draw):
    return {"lq_latent": draw(1, 16, 1, 1), "degrade_sigma": draw(1).abs()}


def llama(draw):
    return {"pooled_output": draw(1, 32), "conditioning_llama3": draw(1, 2, 6, 64)}


def token_ids(draw):
    return {"text_input_ids": (draw(1, 6).abs() * 9).long()}


IMAGES = {
    "SD3": Network(SD3, LATENT, options=pooled(32)),
    "AuraFlow": Network(AURA, (4, 8, 8)),
    "PixArtAlpha": Network(PIXART | dict(micro_condition=True), (4, 40, 40), options=size),
    "PixArtSigma": Network(PIXART | dict(micro_condition=False), (4, 40, 40)),
    "HunyuanDiT": Network(HYDIT, (4, 8, 8), options=two_encoders),
    "HunyuanDiT1": Network(HYDIT | dict(size_cond=True, use_style_cond=True), (4, 8, 8), options=two_encoders),
    "FluxInpaint": Network(FLUX | dict(in_channels=96, guidance_embed=True), LATENT, options=pooled(32)),
    "Flux": Network(FLUX | dict(guidance_embed=True), LATENT, options=pooled(32)),
    "LongCatImage": Network(FLUX | dict(guidance_embed=False, vec_in_dim=None, txt_ids_dims=[1, 2]), LATENT),
    "FluxSchnell": Network(FLUX | dict(guidance_embed=False), LATENT, options=pooled(32)),
    "ZImagePixelSpace": Network(Z_IMAGE | Z_PIXELS, (3, 8, 8)),
    "ZImage": Network(Z_IMAGE | dict(pad_tokens_multiple=8), LATENT),
    "PiD": Network(PIXELDIT | dict(lq_hidden_dim=32, lq_num_res_blocks=1), (3, 32, 32), options=low_resolution),
    "PixelDiTT2I": Network(PIXELDIT, (3, 16, 16)),
    "Lumina2": Network(LUMINA, LATENT),
    "HiDream": Network(HIDREAM, LATENT, options=llama),
    "HiDreamO1": Network(HIDREAM_O1, (3, 64, 64), options=token_ids),
    "Chroma": Network(CHROMA, LATENT),
    "ChromaRadiance": Network(RADIANCE, (3, 16, 16)),
    "Omnigen2": Network(
        OMNIGEN | dict(norm_eps=1e-5, patch_size=2, text_feat_dim=64, timestep_scale=1000.0), LATENT, options=masked
    ),
    "Boogu": Network(OMNIGEN | dict(num_double_stream_layers=1, instruction_feat_dim=64), LATENT, options=masked),
    "MageFlow": Network(QWEN, DEEP),
    "QwenImage": Network(QWEN, (16, 1, 8, 8)),
    "JoyImage": Network(
        dict(hidden_size=64, num_attention_heads=2, text_dim=64, num_layers=1, rope_dim_list=[8, 12, 12]), (16, 1, 8, 8)
    ),
    "Ideogram4": Network(IDEOGRAM, DEEP),
    "Krea2": Network(KREA, (16, 1, 8, 8), (6, 128)),
    "Flux2": Network(FLUX_2, DEEP),
    "Lens": Network(LENS, DEEP),
    "Kandinsky5Image": Network(KANDINSKY | dict(visual_embed_dim=64), LATENT, options=pooled(32)),
    "HunyuanImage21Refiner": Network(HUNYUAN_IMAGE | dict(in_channels=128, patch_size=[1, 1, 1]), (64, 2, 4, 4)),
    "HunyuanImage21": Network(
        HUNYUAN_IMAGE | dict(in_channels=64, patch_size=[1, 1], axes_dim=[16, 16]), (64, 4, 4)
    ),
    "ErnieImage": Network(ERNIE, DEEP),
}
