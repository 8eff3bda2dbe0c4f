"""Realign: the alignment strength of a diffusion model as a knob at sampling time. See README.md and AGENTS.md."""

LEAST_HOST = "0.24.0"  # pyproject.toml and README say the same


def _host_version() -> str:
    """As the host gives it; "" where it does not (some forks, and hosts of before 2025)."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return ""
    return str(__version__)


def _numbers(version: str) -> list[int]:
    """[0, 24, 0] of "0.24"; [] of what is no list of numbers."""
    parts = version.split(".")
    return [int(part) for part in (*parts, "0", "0")][:3] if all(map(str.isdecimal, parts)) else []


# The host shows the sentence as the last line of a traceback in its log, and its manager beside the pack.
_version = _host_version()
_known = _numbers(_version)
if _known and _known < _numbers(LEAST_HOST):
    raise ImportError(f"Realign needs ComfyUI {LEAST_HOST} or newer; this is {_version}: update ComfyUI.")

try:
    from .nodes import comfy_entrypoint
except ImportError as error:
    if _known or not (error.name or "").startswith("comfy"):
        raise
    raise ImportError(
        f"Realign needs ComfyUI {LEAST_HOST} or newer; this one (version {_version or 'unknown'}) lacks what came "
        f"before that ({error.msg}): update ComfyUI."
    ) from None

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
