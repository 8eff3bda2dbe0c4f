"""Makes the pictures of the help pages, web/docs/img, and README.md's of the page, docs/page.png, from runs of the demo
models in a real ComfyUI.

    python -m tools.docs.make_help_pictures --host FOLDER [--browser CHROMIUM] [--only NAME …]

Pictures of the page itself need a Chromium and playwright; without --browser they stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys

from PIL import Image

from tools.cache import PACK, say
from tools.docs.help_runs import OF_RUNS
from tools.docs.help_strips import Picture, encoded
from tools.host.host_process import Host
from tools.host.stand_in_files import stand_in_files
from tools.workflows.workflow_names import workflow_file

README = PACK / "docs" / "page.png"
IMAGES = PACK / "web" / "docs" / "img"
PLOTS = {"report", "trace", "reward_report", "search"}


def write(image: Picture, name: str) -> None:
    path = IMAGES / f"{name}.{'png' if name in PLOTS else 'jpg'}"
    path.write_bytes(encoded(image, name, name in PLOTS))
    say(f"{path.name}: {image.width}×{image.height}, {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", required=True, help="the ComfyUI folder")
    parser.add_argument("--browser", help="a Chromium, for the pictures of the page")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures, e.g. sampler grid")
    options = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Host(sys.executable, options.host) as host:
        for name, make in OF_RUNS.items():
            if not options.only or name in options.only:
                write(make(host), name)
        if options.browser:
            from tools.docs.help_screenshots import OF_THE_PAGE, page, readme

            stand_in_files(host.base / "models", PACK / "workflows")
            host.post("/settings", {"Comfy.TutorialCompleted": True})
            with page(host, options.browser) as tab:
                for name, take in OF_THE_PAGE.items():
                    if not options.only or name in options.only:
                        write(take(tab), name)
                if not options.only or README.stem in options.only:
                    demo = workflow_file("realign_demo_sweep").read_text(encoding="utf-8")
                    readme(tab, demo).quantize(256, Image.Quantize.MEDIANCUT).save(README, optimize=True)
    say(json.dumps({path.name: path.stat().st_size for path in sorted(IMAGES.iterdir())}))


if __name__ == "__main__":
    main()
