"""A headless ComfyUI with this pack, in a scratch base directory: started, spoken to over HTTP, and always stopped."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from tools.cache import PACK

START_LIMIT = 300  # seconds; a first start compiles bytecode and fills a database


class HostError(Exception):
    """The host did not start, refused a graph, or failed in it. The message is fit to be shown.

    raised: the name of what a node raised, where it is that.
    """

    def __init__(self, message: str, raised: str = ""):
        super().__init__(message)
        self.raised = raised


class Host:
    """`with Host(python, host_dir) as host:` — host.url, host.get(path), host.run(graph), host.base, host.log_path.

    The base directory (models, input, output, custom_nodes …) is a temporary one with a link to this clone in
    custom_nodes, so that a user's own ComfyUI folder is only read. `base` names a lasting one instead. with_pack: False
    for a ComfyUI without this clone.
    """

    def __init__(
        self,
        python: str | Path,
        host_dir: str | Path,
        extra_args: list[str] | None = None,
        base: str | Path | None = None,
        port: int = 0,
        with_pack: bool = True,
    ):
        self.python, self.host_dir, self.extra_args = str(python), Path(host_dir), extra_args or []
        self._temporary, self._with_pack = base is None, with_pack
        self.base = Path(base) if base else Path(tempfile.mkdtemp(prefix="realign-host-"))
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = self.base / "host.log"
        self.environment: dict[str, str] = {}  # beside this process's own
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Host:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers. Raises HostError with the end of its log where it does not."""
        _prepare_base(self.base, self._with_pack)
        command = [self.python, "main.py", "--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--disable-auto-launch", "--disable-api-nodes"]
        command += ["--database-url", f"sqlite:///{self.base / 'user' / 'realign.db'}", *_device_args(self.python)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        environment |= self.environment
        if (os.cpu_count() or 1) <= 2:
            environment["OMP_NUM_THREADS"] = "1"  # two threads on two shared cores wait for each other
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self.extra_args],
                cwd=self.host_dir,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self.stop)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a killed script still stops its host
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise HostError(f"ComfyUI stopped while starting. The end of its log:\n{self.log_tail()}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        raise HostError(f"ComfyUI did not answer within {START_LIMIT} s. The end of its log:\n{self.log_tail()}")

    def stop(self) -> None:
        """Stop the host, and remove its base directory if it is a temporary one. Safe to call again."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)

    def wait(self) -> None:
        """Until the host ends by itself."""
        if self._process is not None:
            self._process.wait()

    def log_tail(self, lines: int = 25) -> str:
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            body: bytes = answer.read()
            return body

    def files(self, shown: dict[str, Any]) -> list[bytes]:
        """The pictures of one of `run`'s outputs, as the files that the node saved."""
        found = [{key: image[key] for key in ("filename", "subfolder", "type")} for image in shown["images"]]
        return [self.get_bytes(f"/view?{urlencode(image)}") for image in found]

    def pictures(self, shown: dict[str, Any]) -> list[Image.Image]:
        """The same, opened."""
        return [Image.open(io.BytesIO(file)).convert("RGB") for file in self.files(shown)]

    def post(self, path: str, body: Any) -> Any:
        """Raises HostError with the host's own words where it refuses."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise HostError(_refusal(error.read().decode(errors="replace"))) from error

    def queue(self, graph: dict[str, Any], client_id: str = "realign", workflow: dict[str, Any] | None = None) -> str:
        """Queue a graph in API format; its prompt id. workflow: in UI format, to be kept in the pictures it saves."""
        body: dict[str, Any] = {"prompt": graph, "client_id": client_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        prompt_id: str = self.post("/prompt", body)["prompt_id"]
        return prompt_id

    def run(self, graph: dict[str, Any], limit: float = 900, workflow: dict[str, Any] | None = None) -> dict[str, Any]:
        """Queue a graph in API format and wait: {node id: what it showed}. Raises HostError with what a node said."""
        prompt_id = self.queue(graph, workflow=workflow)
        for entry in self._history(prompt_id, limit):
            for kind, message in entry["status"]["messages"]:
                if kind == "execution_error":
                    text = f"{message['node_type']}: {message['exception_message'].strip()}"
                    raise HostError(text, message["exception_type"])
            outputs: dict[str, Any] = entry["outputs"]
            return outputs
        raise HostError(f"The graph did not finish within {limit:g} s.")

    def _history(self, prompt_id: str, limit: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise HostError(f"ComfyUI ended. The end of its log:\n{self.log_tail()}")
            found = self.get(f"/history/{prompt_id}").get(prompt_id)
            if found:
                yield found
            time.sleep(0.1)


def _refusal(text: str) -> str:
    """The host's JSON answer to a graph it does not accept, as sentences."""
    try:
        answer = json.loads(text)
        nodes = answer.get("node_errors") or {}
        details = [f"{n['class_type']}: {e['message']} ({e['details']})" for n in nodes.values() for e in n["errors"]]
        return "; ".join(details) or answer["error"]["message"]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return text[:500]


def _prepare_base(base: Path, with_pack: bool) -> None:
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / "realign"
    if not with_pack or link.is_symlink() or link.exists():
        return
    try:
        link.symlink_to(PACK, target_is_directory=True)
    except OSError:  # Windows without the right to make links
        shutil.copytree(PACK, link, ignore=shutil.ignore_patterns(".git", "out", "__pycache__"))


def _device_args(python: str) -> list[str]:
    code = "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"
    if subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
        return []
    return ["--cpu", "--use-pytorch-cross-attention"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
