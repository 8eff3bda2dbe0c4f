"""DoRA as PEFT defines it: a magnitude for each row, over the norm of the row that the LoRA has changed.

The host knows the magnitudes as `dora_scale`, and divides by the norm of the row without the LoRA, which is not what
PEFT trains.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.weight_adapter import LoRAAdapter


class PeftDora(LoRAAdapter):  # type: ignore[misc]
    """The host's LoRA adapter, with PEFT's magnitudes for its `dora_scale`."""

    def calculate_weight(
        self,
        weight: torch.Tensor,
        key: str,
        strength: float,
        strength_model: float,
        offset: Any,
        function: Any,
        intermediate_dtype: torch.dtype = torch.float32,
        original_weight: Any = None,
    ) -> torch.Tensor:
        """weight + strength · (m (W + ΔW) / ‖W + ΔW‖ - W), in place; norms over all but a weight's first dimension."""
        up, down, alpha, mid, magnitude, reshape = self.weights
        plain = LoRAAdapter(self.loaded_keys, (up, down, alpha, mid, None, reshape))
        changed = plain.calculate_weight(
            weight.to(intermediate_dtype, copy=True), key, 1.0, 1.0, None, function, intermediate_dtype
        )
        rows = [-1, *[1] * (changed.ndim - 1)]
        size = function(magnitude.to(changed.device, intermediate_dtype).reshape(-1, 1)).reshape(rows)
        changed *= size / changed.flatten(1).norm(dim=1).reshape(rows)
        weight += (strength * (changed - weight)).to(weight.dtype)
        return weight
