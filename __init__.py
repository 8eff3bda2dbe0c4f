"""Realign: the alignment strength of a diffusion model as a knob at sampling time. See README.md and AGENTS.md."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
