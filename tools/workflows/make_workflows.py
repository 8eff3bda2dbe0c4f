"""Writes workflows/*.json and subgraphs/*.json, in the page's UI format, from short descriptions.

Then realign_study/workflows/*.json, some of them in API format.

    python -m tools.workflows.make_workflows --host FOLDER

The host is asked for its nodes' inputs (/object_info), so that slots and widgets fit them. Released files are a
contract: see tests/host/test_workflows.py. The descriptions are in the modules that end
in _workflows and _sweeps, and blueprint.py.
"""

from __future__ import annotations

import argparse
import sys

from tools.cache import PACK
from tools.host.host_process import Host
from tools.workflows import (
    blueprint,
    demo_workflows,
    model_sweeps,
    model_workflows,
    particle_workflows,
    preference_workflows,
    reward_workflows,
    study_workflows,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    with Host(sys.executable, parser.parse_args().host) as host:
        known = host.get("/object_info")
    rooms = (demo_workflows, particle_workflows, preference_workflows, model_workflows, model_sweeps, reward_workflows)
    for describe in (describe for room in rooms for describe in room.ALL):
        describe(known, PACK / "workflows")
    blueprint.realign(known, PACK / "subgraphs")
    study_workflows.write(known, PACK / "realign_study" / "workflows")


if __name__ == "__main__":
    main()
