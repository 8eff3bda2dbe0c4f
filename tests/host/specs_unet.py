"""Small arguments of the host's networks before the diffusion transformers: UNets, Stable Cascade."""

from __future__ import annotations

from networks import Network, pooled

# fmt: off
UNET = dict(
    model_channels=32, num_res_blocks=[1, 1, 1], channel_mult=[1, 2, 4], transformer_depth=[1, 1, 1],
    transformer_depth_output=[1] * 6, transformer_depth_middle=1, context_dim=64, num_heads=4, num_head_channels=-1,
    image_size=32, in_channels=4, out_channels=4, use_spatial_transformer=True, legacy=False,
    use_temporal_resblock=False, use_temporal_attention=False,
)
TWO_LEVELS = UNET | dict(
    num_res_blocks=[1, 1], channel_mult=[1, 2], transformer_depth=[0, 1], transformer_depth_output=[0, 0, 1, 1]
)
CLASSES = TWO_LEVELS | dict(num_classes="sequential")
SDXL = CLASSES | dict(adm_in_channels=32 + 6 * 256)  # pooled text, and six numbers of the picture's size
FRAMES = CLASSES | dict(
    in_channels=8, extra_ff_mix_layer=True, use_spatial_context=True, merge_strategy="learned_with_images",
    merge_factor=0.0, video_kernel_size=[3, 1, 1], use_temporal_resblock=True, use_temporal_attention=True,
    disable_temporal_crossattention=False,
)
CASCADE_C = dict(
    c_cond=64, c_hidden=[64, 64], nhead=[2, 2], blocks=[[1, 1], [1, 1]], c_clip_text=64, c_clip_text_pooled=32, c_r=16,
)
CASCADE_B = dict(
    c_cond=64, c_hidden=[32, 32, 64, 64], nhead=[-1, -1, 2, 2], blocks=[[1] * 4, [1] * 4],
    block_repeat=[[1] * 4, [1] * 4], c_clip=32, c_r=16,
)
LATENT = (4, 8, 8)


def projection(draw):
    return {"cc_projection.weight": draw(64, 68) / 8, "cc_projection.bias": draw(64)}


def cascade(draw):
    return {"pooled_output": draw(1, 1, 32), "stable_cascade_prior": draw(1, 16, 4, 4)}


UNETS = {
    "LotusD": Network(CLASSES | dict(adm_in_channels=4), LATENT),
    "Stable_Zero123": Network(TWO_LEVELS | dict(in_channels=8), LATENT, (1, 68), beside=projection),
    "SD15_instructpix2pix": Network(TWO_LEVELS | dict(in_channels=8), LATENT),
    "SD15": Network(UNET, LATENT),
    "SD20": Network(TWO_LEVELS, LATENT),
    "SD21UnclipL": Network(CLASSES | dict(adm_in_channels=32), LATENT),
    "SD21UnclipH": Network(CLASSES | dict(adm_in_channels=32), LATENT),
    "SDXL_instructpix2pix": Network(SDXL | dict(in_channels=8), LATENT, options=pooled(32)),
    "SDXLRefiner": Network(SDXL | dict(adm_in_channels=32 + 5 * 256), LATENT, options=pooled(32)),
    "SDXL": Network(SDXL, LATENT, options=pooled(32)),
    "SSD1B": Network(SDXL, LATENT, options=pooled(32)),
    "KOALA_700M": Network(SDXL, LATENT, options=pooled(32)),
    "KOALA_1B": Network(SDXL, LATENT, options=pooled(32)),
    "Segmind_Vega": Network(SDXL, LATENT, options=pooled(32)),
    "SD_X4Upscaler": Network(TWO_LEVELS | dict(in_channels=7, disable_self_attentions=[True, False]), LATENT),
    "Stable_Cascade_C": Network(CASCADE_C, (16, 8, 8), options=pooled(32)),
    "Stable_Cascade_B": Network(CASCADE_B, (4, 16, 16), options=cascade),
    "SVD_img2vid": Network(FRAMES | dict(adm_in_channels=3 * 256), LATENT, (1, 64), batch=3),
    "SV3D_u": Network(FRAMES | dict(adm_in_channels=256), LATENT, (1, 64), batch=3),
    "SV3D_p": Network(FRAMES | dict(adm_in_channels=5 * 256), LATENT, (1, 64), batch=3),
}
