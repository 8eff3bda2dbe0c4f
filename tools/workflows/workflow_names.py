"""What the shared workflow files are called.

The page's Templates dialog shows a pack's file names as titles, and knows no other title for them in any language. The
host lists them as the disk does: by name on NTFS, in an order of its own on ext4; and the page can sort them by title.
So the names are words that sort as they should be read: the demos by number, then the public models. About 30 letters
are seen on a card, and they are plain ones: a name is also an address, and goes through archives of all kinds.
"""

from __future__ import annotations

from pathlib import Path

from tools.cache import PACK

# By the names that the tools, the pictures they save and the frozen copies have.
TITLES = {
    "realign_demo_sweep": "Realign Demo 1 - lambda sweep",
    "realign_demo": "Realign Demo 2 - lambda slider",
    "realign_any_sampler": "Realign Demo 3 - any sampler",
    "lambda_curve": "Realign Demo 4 - lambda curve",
    "lambda_mask": "Realign Demo 5 - lambda mask",
    "rescue_over_optimised": "Realign Demo 6 - rescue a model",
    "colourful_hearts": "Realign Demo 7 - vivid hearts",
    "smaller_jpegs": "Realign Demo 8 - smaller JPEGs",
    "corrected_sweep": "Realign Demo 9 - corrected",
    "two_rewards": "Realign Front - two rewards",
    "find_lambda": "Realign Search - find the lambda",
    "my_taste": "Realign Preference - my taste",
    "sd15_dpo": "Realign SD 1.5 - Diffusion-DPO",
    "sd15_paper": "Realign SD 1.5 - paper setting",
    "sd35_flow_grpo": "Realign SD 3.5 - Flow-GRPO",
    "sd35_rlg": "Realign SD 3.5 - RLG sweep",
    "sdxl_dpo": "Realign SDXL - Diffusion-DPO",
    "sdxl_dpo_sweep": "Realign SDXL - DPO sweep",
    "sdxl_paper": "Realign SDXL - paper setting",
    "sdxl_two_anchors": "Realign SDXL - two anchors",
    "sdxl_particles": "Realign SDXL - PickScore",
}


def workflow_file(name: str) -> Path:
    """The workflow file of that name in TITLES."""
    return PACK / "workflows" / f"{TITLES[name]}.json"
