"""Who makes a study's pictures. interface.py is the seam, pool.py any number of hosts, local.py one of this machine,
ray.py (with ray_actor.py) a cluster's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import PlanError
from ..plan import Hosts, OnRay, PlanFile
from .interface import Backend, Outcome, Task, Wanted
from .local import LocalHost
from .pool import Address, Member, Pool
from .ray import RayActors, actors_of
from .ray_actor import Start

HERE = "http://127.0.0.1:8188"  # where a ComfyUI listens unless it is told otherwise

__all__ = ["HERE", "Backend", "Outcome", "Task", "Wanted", "backend_of", "places", "workers"]


def backend_of(plan_file: PlanFile, notice: Callable[[str], None], scoring: bool = False) -> Backend:
    """The plan's. notice: told in a sentence what the user should know. scoring: for the second stage, whose actors may
    be others. Raises PlanError."""
    hosts = plan_file.plan.hosts
    folder = _folder(hosts)
    python = hosts.python or os.environ.get("COMFYUI_PYTHON")
    if plan_file.plan.back_end == "ray":
        if not folder:
            raise PlanError("Ray's actors start a ComfyUI each: name its folder on the nodes, as hosts: {comfyui: …}.")
        where = folder if folder.startswith("~") else str(plan_file.near(folder).absolute())  # ~ is a node's own
        start = Start(where, python, tuple(hosts.args), hosts.row_minutes * 60, hosts.patience)
        return RayActors(hosts.ray or OnRay(), scoring, start, notice)
    members: list[Member] = [Address(url, hosts.patience) for url in hosts.servers]
    if folder:
        members = [LocalHost(plan_file.near(folder), python, hosts.args)]
    return Pool(members or [Address(HERE, hosts.patience)], hosts.row_minutes * 60, hosts.patience, notice)


def _folder(hosts: Hosts) -> str | None:
    """Of the ComfyUI that is to be started."""
    return hosts.comfyui or (os.environ.get("COMFYUI_PATH") if not hosts.servers else None)


def workers(plan_file: PlanFile, scoring: bool = False) -> int:
    """How many make rows at once, if all are there."""
    hosts = plan_file.plan.hosts
    if plan_file.plan.back_end == "ray":
        return actors_of(hosts.ray or OnRay(), scoring).actors
    return len(hosts.servers) or 1


def places(plan_file: PlanFile) -> str:
    """Where the pictures will be made, in words."""
    hosts, folder = plan_file.plan.hosts, _folder(plan_file.plan.hosts)
    if plan_file.plan.back_end == "ray":
        on = (hosts.ray or OnRay()).address
        count = workers(plan_file)
        return f"{count} ComfyUI{'s' * (count > 1)} started by Ray ({on}) from {folder or 'a folder that is not named'}"
    if folder and not hosts.servers:
        return f"a ComfyUI started from {Path(folder)}"
    there = ", ".join(hosts.servers) or f"the ComfyUI at {HERE}"
    return f"{there} (each keeps its pictures in its own temp folder too, until it is started again)"
