"""This machine: a ComfyUI started from its folder, started again where it ends, and ended with the study.

It is a child of keeper.py, which ends it when the pipe to this process closes: so it does not outlive a study, however
that one ended.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import HostTrouble, PlanError
from .pool import Stopped, wait_for

SECONDS_TO_START = 300.0  # a first start compiles, and fills a database
SILENT = 10.0  # seconds until one that runs and does not answer is started again
HAS_DEVICE = "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"


class LocalHost:
    """A member of a pool. args: more arguments of the host's main.py."""

    def __init__(self, folder: Path, python: str | None = None, args: list[str] | None = None):
        """Raises PlanError where the folder is no ComfyUI."""
        if not (folder / "main.py").is_file():
            raise PlanError(f"{folder} is no ComfyUI: name the folder that its main.py is in.")
        self.folder, self.args = folder.resolve(), args or []
        self.python = python or interpreter_of(self.folder)
        self.name, self.url = "this machine's ComfyUI", ""
        self._scratch: Path | None = None  # of the one that runs, or ran last
        self._process: subprocess.Popen[bytes] | None = None

    def ready(self, stopped: Callable[[], bool]) -> None:
        def over() -> bool:
            return stopped() or self._ended()

        if not self._ended():
            try:
                return wait_for(self.url, SILENT, over)
            except (HostTrouble, Stopped):
                if stopped():
                    raise
        self._end()  # it has ended, or it runs and is silent: another one is started
        self._start()
        try:
            wait_for(self.url, SECONDS_TO_START, over)
        except (HostTrouble, Stopped):
            if self._ended() and not stopped():
                raise HostTrouble(f"({self.folder}) ended while it started. {self._log_tail()}") from None
            raise

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _start(self) -> None:
        self._scratch = scratch = Path(tempfile.mkdtemp(prefix="realign-study-"))
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        given = " ".join(self.args)
        command = [self.python, "main.py", "--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
        command += ["--disable-api-nodes", "--temp-directory", str(scratch)]
        command += ["--database-url", f"sqlite:///{scratch / 'host.db'}"]
        if "--cpu" not in given and subprocess.run([self.python, "-c", HAS_DEVICE], capture_output=True).returncode:
            command += ["--cpu", "--use-pytorch-cross-attention"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        if (os.cpu_count() or 1) <= 2:
            environment.setdefault("OMP_NUM_THREADS", "1")  # two threads on two shared cores wait for each other
        keeper = [sys.executable, str(Path(__file__).with_name("keeper.py")), str(scratch)]
        with (scratch / "host.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*keeper, *command, *self.args],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _log_tail(self) -> str:
        if self._scratch is None:
            return ""
        try:
            lines = (self._scratch / "host.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "The end of its log:\n" + "\n".join(lines[-15:])

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)

    def tidy(self) -> None:
        """Its temp folder: what has been fetched of it is in the study's."""
        if self._scratch is not None:
            for path in (self._scratch / "temp").glob("*"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def close(self) -> None:
        self._end()


def interpreter_of(folder: Path) -> str:
    """The Python that a ComfyUI's folder has beside it, else this one."""
    beside = ("venv/bin/python", ".venv/bin/python", "venv/Scripts/python.exe", ".venv/Scripts/python.exe")
    found = [folder / name for name in (*beside, "../python_embeded/python.exe")]
    return next((str(path) for path in found if path.is_file()), sys.executable)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
