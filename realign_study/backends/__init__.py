"""Who makes a study's pictures. interface.py is the seam, pool.py any number of hosts, local.py one of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import PlanError
from ..plan import PlanFile
from .interface import Backend, Outcome, Task, Wanted
from .local import LocalHost
from .pool import Address, Member, Pool

HERE = "http://127.0.0.1:8188"  # where a ComfyUI listens unless it is told otherwise

__all__ = ["HERE", "Backend", "Outcome", "Task", "Wanted", "backend_of", "places"]


def backend_of(plan_file: PlanFile, notice: Callable[[str], None]) -> Backend:
    """The plan's. notice: told in a sentence what the user should know. Raises PlanError."""
    hosts = plan_file.plan.hosts
    if plan_file.plan.back_end == "ray":
        raise PlanError("The Ray back end is not here: pip install 'realign[ray]', or set back_end: servers.")
    members: list[Member] = [Address(url, hosts.patience) for url in hosts.servers]
    folder = hosts.comfyui or (os.environ.get("COMFYUI_PATH") if not members else None)
    if folder:
        python = hosts.python or os.environ.get("COMFYUI_PYTHON")
        members = [LocalHost(plan_file.near(folder), python, hosts.args)]
    return Pool(members or [Address(HERE, hosts.patience)], hosts.row_minutes * 60, hosts.patience, notice)


def places(plan_file: PlanFile) -> str:
    """Where the pictures will be made, in words."""
    hosts = plan_file.plan.hosts
    if hosts.servers:
        return ", ".join(hosts.servers)
    folder = hosts.comfyui or os.environ.get("COMFYUI_PATH")
    return f"a ComfyUI started from {Path(folder)}" if folder else f"the ComfyUI at {HERE}"
