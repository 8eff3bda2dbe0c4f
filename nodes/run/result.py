"""What came out of a run: finite numbers, or a sentence that says so. The host shows a black picture and no word.

Where no picture of a batch is finite the run fails: there is nothing to keep, and what follows (a detailer, an
upscaler) would only spend time on it. Where some are, as in a sweep whose largest λ overflows, they took as long to
sample and are worth keeping: all are handed on, and the log and the node say which are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

MOST_NAMED = 8  # pictures of a sentence
WHY = (
    "λ or cfg is too far out, a model needs a wider number format (start ComfyUI with --fp32-unet), or its file is "
    "broken: lower λ and cfg, and see whether λ 0 and λ 1 are black too"
)


def check_result(latent: Tensor, say: Callable[[str], None] | None = None) -> None:
    """Raise ValueError for a latent without a finite picture; warn where some pictures are not.

    latent: (B, …). say: shows the warning on the node, beside the log.
    """
    finite = torch.isfinite(latent.flatten(1)).all(1).tolist()
    wrong = [number for number, is_finite in enumerate(finite, 1) if not is_finite]
    if not wrong:
        return
    if len(wrong) == len(finite):
        raise ValueError(f"The sampled latent holds values that are not finite numbers (NaN or infinity): {WHY}.")
    named = ", ".join(map(str, wrong[:MOST_NAMED])) + (" …" if len(wrong) > MOST_NAMED else "")
    which = f"picture {named} of {len(finite)} is" if len(wrong) == 1 else f"pictures {named} of {len(finite)} are"
    logging.warning("Realign: %s not finite (NaN or infinity) and will be black: %s", which, WHY)
    if say is not None:
        say(f"{which} not finite (NaN or infinity)")
