"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum steps made orthogonal.

A small network learns in about half the steps that AdamW needs. Scaled as in Liu et al. 2025 (arXiv 2502.16982, §2.2),
so that one learning rate serves it and the AdamW of the remaining parameters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the post's quintic: singular values end up within 0.7 … 1.2


class Muon(torch.optim.Optimizer):
    """For weights of linear and convolutional layers, taken as (out, in · kernel) matrices."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.01
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                velocity = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                direction = weight.grad.add(velocity, alpha=group["momentum"]).flatten(1)
                size = 0.2 * max(direction.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonal(direction).view_as(weight), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """The nearest matrix with equal singular values, roughly: Newton-Schulz, bf16 where it is fast. matrix: (n, m)."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).to(torch.bfloat16 if has_bfloat16(matrix.device) else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bf16 is fast there. A CPU without instructions for it takes twenty times as long as for fp32."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
