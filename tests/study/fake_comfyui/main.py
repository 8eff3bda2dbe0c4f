"""What a ComfyUI says over HTTP, without one: graphs in, pictures and traces out, at once. Standard library and Pillow.

Run as a host is, `python main.py --port N`, with `--mode` for one that misbehaves (see MODES), `--log FILE`, a line for
each graph that it accepts, `--left FILE`, how many files its temp folder has then, and `--after FILE`, without which it
finishes none. A picture's pixels are the hash of its graph, so equal graphs give equal pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image

MODES = {
    "good": "as a ComfyUI",
    "silent": "takes graphs and never answers",
    "stuck": "takes graphs and never finishes one",
    "forgetful": "takes graphs and knows nothing of them later",
    "dies": "ends when the third graph comes",
    "noise": "answers bytes that are no JSON to whoever asks for a result",
    "wrong": "answers JSON of another kind",
    "deep": "answers JSON that is nested without end",
    "broken": "gives half a picture",
    "html": "gives a web page for a picture",
    "escapes": "names its pictures by paths",
    "endless": "sends without end",
    "redirects": "sends whoever asks to another address",
    "busy": "has another's graph before each of ours until its delay is over",
    "fails": "fails at every graph",
    "untraced": "gives no trace for a trace",
}
LOCK = threading.Lock()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options: argparse.Namespace):
        super().__init__(("127.0.0.1", options.port), Handler)
        self.mode, self.delay, self.log, self.elsewhere = options.mode, options.delay, options.log, options.elsewhere
        self.after, self.left, self.temp = options.after, options.left, options.temp_directory
        self.graphs: dict[str, tuple[dict, float]] = {}
        self.pictures: dict[str, bytes] = {}
        self.accepted = 0

    def waits(self) -> bool:
        return bool(self.after) and not os.path.exists(self.after)


def outputs_without(graph: dict, bad: set[str]) -> list[str]:
    """The nodes of whose outputs no other takes one, and behind which none is bad: what a host runs."""
    sources = {
        name: {value[0] for value in node["inputs"].values() if isinstance(value, list) and value}
        for name, node in graph.items()
    }

    def whole(name: str) -> bool:
        return name not in bad and all(whole(source) for source in sources[name] if source in graph)

    return [name for name in graph if whole(name) and not any(name in taken for taken in sources.values())]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, of which the second would wait
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        mode = self.server.mode
        if mode == "redirects":
            self._send(b"", 302, {"Location": self.server.elsewhere + self.path})
        elif place.path == "/system_stats":
            self._json({"system": {"comfyui_version": "0.0.1", "pytorch_version": "0"}, "devices": [{"name": "fake"}]})
        elif place.path == "/queue":
            held = [] if mode == "forgetful" else list(self.server.graphs)
            first = time.monotonic() < max((due for _, due in self.server.graphs.values()), default=0.0)
            ours = [[0, prompt] for prompt in held]
            busy = mode == "busy" and first
            self._json({"queue_running": [[0, "other"]] if busy else ours, "queue_pending": ours if busy else []})
        elif place.path.startswith("/history/"):
            self._history(place.path.rsplit("/", 1)[1])
        elif place.path == "/view":
            picture = self.server.pictures.get(parse_qs(place.query)["filename"][0], b"")
            bad = {"broken": picture[: len(picture) // 2], "html": b"<html>../../etc/passwd</html>"}
            self._send(bad.get(mode, picture))
        else:
            self._send(b"", 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/queue" and self.server.log:
            with open(f"{self.server.log}.cancelled", "a", encoding="utf-8") as log:
                log.write(body.decode() + "\n")
        if self.path == "/prompt":
            self._prompt(json.loads(body)["prompt"])
        else:
            self._json({"name": "x.png"})

    def _prompt(self, graph: dict) -> None:
        text = json.dumps(graph, sort_keys=True)
        wrong = {"class_type": "Fake", "errors": [{"message": "Value not in list", "details": "refuse"}]}
        errors = {name: wrong for name in graph if "refuse" in json.dumps(graph[name])}
        good = outputs_without(graph, set(errors))
        if not good:
            self._json({"error": {"message": "refused"}, "node_errors": errors}, 400)
            return
        with LOCK:
            self.server.accepted += 1
            if self.server.left:
                with open(self.server.left, "a", encoding="utf-8") as left:
                    left.write(f"{len(os.listdir(self.server.temp)) if os.path.isdir(self.server.temp) else 0}\n")
            if self.server.log:
                with open(self.server.log, "a", encoding="utf-8") as log:
                    log.write(hashlib.sha256(text.encode()).hexdigest() + "\n")
        if self.server.mode == "silent":
            time.sleep(3600)
        if "poison" in text or (self.server.mode == "dies" and self.server.accepted >= 3):
            os._exit(1)
        prompt = str(uuid.uuid4())
        self.server.graphs[prompt] = graph, time.monotonic() + self.server.delay
        self._json({"prompt_id": prompt, "number": 1, "node_errors": errors})

    def _history(self, prompt: str) -> None:
        mode = self.server.mode
        if mode == "endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b" " * (1 << 20))
        odd = {"noise": os.urandom(999), "wrong": b'{"%s": [1, "two"]}' % prompt.encode(), "deep": b"[" * 100_000}
        graph, due = self.server.graphs.get(prompt, ({}, 0.0))
        if mode in odd:
            self._send(odd[mode])
        elif mode in ("stuck", "forgetful") or time.monotonic() < due or self.server.waits():
            self._json({})
        else:
            self._json({prompt: self._result(prompt, graph)})

    def _result(self, prompt: str, graph: dict) -> dict:
        text = json.dumps(graph, sort_keys=True)
        start = ["execution_start", {"prompt_id": prompt, "timestamp": 1000}]
        if "fail" in text or self.server.mode == "fails":
            why = "it <b>fails</b> \x1b[2J\n" if "fail" in text else "CUDA error"
            said = {
                "node_type": "Fake",
                "exception_message": why,
                "exception_type": "ValueError",
            }
            return {"outputs": {}, "status": {"status_str": "error", "messages": [start, ["execution_error", said]]}}
        picture = hashlib.sha256(text.encode()).digest()
        file = io.BytesIO()
        Image.frombytes("RGB", (2, 4), picture[:24]).save(file, "PNG")
        name = {"escapes": "../../../escaped.png"}.get(self.server.mode, f"{prompt}.png")
        self.server.pictures[name] = file.getvalue()
        if self.server.temp:
            os.makedirs(self.server.temp, exist_ok=True)
            with open(os.path.join(self.server.temp, f"{prompt}.png"), "wb") as kept:
                kept.write(file.getvalue())
        calls = 2.0
        trace = {"kl_reference": [0.5], "model_calls": calls, "anchors": [{"name": "x", "beta": 500.0}], "steps": []}
        told = {"realign_trace": "nothing" if self.server.mode == "untraced" else json.dumps(trace)}
        outputs: dict = {"realign_picture": {"images": [{"filename": name, "subfolder": "", "type": "temp"}]}}
        bad = {name for name in graph if "refuse" in json.dumps(graph[name])}
        for node in outputs_without(graph, bad):
            if node.startswith(("realign_trace", "told ")):
                outputs[node] = {"text": [told.get(node, str(picture[0]))]}
        end = ["execution_success", {"prompt_id": prompt, "timestamp": 1500}]
        return {"outputs": outputs, "status": {"status_str": "success", "messages": [start, end]}}

    def _json(self, content: object, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), status)

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, default="good")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--log", default="")
    parser.add_argument("--after", default="")
    parser.add_argument("--elsewhere", default="")
    parser.add_argument("--left", default="")
    parser.add_argument("--temp-directory", default="")
    options, _ = parser.parse_known_args()
    if options.temp_directory:
        options.temp_directory = os.path.join(options.temp_directory, "temp")  # as a host does
    server = Server(options)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
