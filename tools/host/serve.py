"""`make serve`: ComfyUI with this pack for the browser, with the shared workflows among the saved ones too.

python -m tools.host.serve --host FOLDER [--port 8188]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

from tools.cache import CACHE, PACK, say
from tools.host.host_process import Host, HostError
from tools.workflows.workflow_names import TITLES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", 8188)))
    options = parser.parse_args()
    base = base_of(Path(options.host))
    saved = base / "user" / "default" / "workflows" / "realign"
    saved.mkdir(parents=True, exist_ok=True)
    for workflow in (PACK / "workflows").glob("*.json"):
        shutil.copy(workflow, saved)
    link = base / "custom_nodes" / "realign"
    if link.is_symlink() and link.resolve() != PACK:
        link.unlink()  # another clone's
    try:
        with Host(sys.executable, options.host, ["--preview-method", "auto"], base, options.port) as host:
            say(
                f"ComfyUI runs; models go into {(base / 'models').resolve()}. Stop it with Ctrl-C. Open the page below;"
            )
            say(f"the demo is under Templates → Realign → {TITLES['realign_demo_sweep']}.")
            print(host.url, flush=True)
            host.wait()
    except HostError as error:
        say(f"make serve: {error}")
        return 1
    except KeyboardInterrupt:
        say("make serve: stopped")
    return 0


def base_of(host: Path) -> Path:
    """A lasting base directory, so that what is drawn and saved stays; with the models of a user's own ComfyUI."""
    own = CACHE not in host.resolve().parents
    base = CACHE / (f"serve-{hashlib.sha256(str(host).encode()).hexdigest()[:8]}" if own else "serve")
    base.mkdir(parents=True, exist_ok=True)
    if own and not (base / "models").exists():
        (base / "models").symlink_to(host.resolve() / "models", target_is_directory=True)
    return base


if __name__ == "__main__":
    sys.exit(main())
