"""Realign: the alignment strength of a diffusion model as a knob at sampling time. See README.md and AGENTS.md."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
