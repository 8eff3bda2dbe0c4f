"""How a study grows with its rows: one stage of one size, in a process of its own, with a sampler that takes no time.

Run by study.py. Prints a line of JSON.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PACK))
from PIL import Image  # noqa: E402

from realign_study import running  # noqa: E402
from realign_study.answers import Traced  # noqa: E402
from realign_study.backends import Outcome, Task  # noqa: E402
from realign_study.plan import PlanFile  # noqa: E402
from realign_study.results import Folder  # noqa: E402
from realign_study.rows import Study  # noqa: E402

TRACED = Traced.model_validate({"kl_reference": [0.5], "model_calls": 60.0, "anchors": [{"beta": 5000.0}]})


class Instant:
    """A back end that has every picture at once; `first`: when it was asked for its first row, s."""

    def __init__(self) -> None:
        file = io.BytesIO()
        Image.new("RGB", (2, 4)).save(file, "PNG")
        self._picture, self.first = file.getvalue(), 0.0

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        for task in tasks:
            self.first = self.first or time.monotonic()
            yield Outcome(task.key, "bench", "none", 1.0, self._picture, {"trace": TRACED})

    def close(self) -> None: ...


class Quiet:
    def start(self, what: str, total: int, done: int) -> None: ...

    def outcome(self, outcome: Outcome) -> None: ...


def largest() -> float:
    """The most memory that this process had, MB. Not getrusage's, which knows that of the process before exec too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    plan, stage = Path(sys.argv[1]), sys.argv[2]
    began = time.monotonic()
    study = Study(PlanFile(plan))
    told: dict[str, float] = {"rows": len(study.rows)}
    told["planned"] = time.monotonic() - began
    if stage != "plan":
        backend = Instant()
        with Folder(study.plan_file.folder) as folder:
            folder.check_plan(study, True)
            summary = running.sample(study, folder, backend, Quiet())
            end = time.monotonic()
            folder.write_table(study)
        told["first"] = backend.first - began
        told["each"] = (end - backend.first) / summary.done
        told["table"] = time.monotonic() - end
        records = [*(folder.path / "rows").iterdir(), *folder.path.glob("*.*")]
        told["disk"] = sum(file.stat().st_size for file in records) / 2**20
    told["memory"] = largest()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
