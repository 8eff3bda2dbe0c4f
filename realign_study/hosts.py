"""A ComfyUI by its HTTP API: asked on its own address alone, with an end in time and size to everything."""

from __future__ import annotations

import json
import time
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import urllib3
from pydantic import BaseModel, ValidationError

from .answers import About, File, Finished, Queued, Refusal
from .errors import HostTrouble, RowFailed

M = TypeVar("M", bound=BaseModel)
ANSWER = 32 * 2**20  # bytes of JSON, at most
PICTURE = 512 * 2**20  # bytes of a picture, at most
MINUTES_OF_A_PICTURE = 10  # until it must have come
SECONDS_TO_END = 8.0  # that a prompt may take to end where it is cancelled; a study that stops waits for ten
FOLDER = "realign_study"  # of uploads, in the host's temp folder, which it empties at its start


class Client:
    """One host. Every method raises HostTrouble where the host is gone, silent, or answers what no ComfyUI would;
    the sentence says what it did, and whoever knows its name puts that in front.

    url: as the plan has it. patience: seconds that an answer may take.
    """

    def __init__(self, url: str, patience: float = 30.0):
        self.url, self.patience = url, patience
        # No proxy, no redirect, and no second try behind one's back: nobody is asked whom the plan does not name.
        self._connect = min(patience, 10.0)
        timeout = urllib3.Timeout(connect=self._connect, read=patience)
        self._http = urllib3.PoolManager(num_pools=1, timeout=timeout, retries=False)

    def close(self) -> None:
        self._http.clear()

    def about(self) -> About:
        return self._read(About, self._ask("GET", "/system_stats"))

    def queue(self, graph: dict[str, Any]) -> str:
        """The prompt's id. Raises RowFailed, with the host's own words, where it does not accept the whole graph."""
        status, body = self._call("POST", "/prompt", ANSWER, json={"prompt": graph, "client_id": "realign-study"})
        if status == 400:
            raise RowFailed(self._read(Refusal, body).sentence()[:2000])
        queued = self._read(Queued, self._good(status, body))
        if wrong := queued.nodes_sentence():
            self.cancel(queued.prompt_id)
            raise RowFailed(wrong[:2000])
        return queued.prompt_id

    def finished(self, prompt: str) -> Finished | None:
        """None while it waits or runs."""
        answer = self._json(self._ask("GET", f"/history/{prompt}"))
        if not isinstance(answer, dict):
            raise self._nonsense()
        return self._checked(Finished, answer[prompt]) if prompt in answer else None

    def place(self, prompt: str) -> Literal["behind", "first"] | None:
        """first: it runs, or is the next where nothing does; behind: it waits for others; None: it is not there."""
        answer = self._json(self._ask("GET", "/queue"))
        try:
            running, pending = ([item[1] for item in answer[key]] for key in ("queue_running", "queue_pending"))
        except (TypeError, KeyError, IndexError):
            raise self._nonsense() from None
        if prompt in running:
            return "first"
        return None if prompt not in pending else "behind" if running else "first"

    def picture(self, file: File) -> bytes:
        if ".." in file.filename or PurePosixPath(file.filename).name != file.filename or "\\" in file.filename:
            raise HostTrouble("names a picture by a path")
        where = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        return self._ask("GET", f"/view?{urlencode(where)}", PICTURE, MINUTES_OF_A_PICTURE * 60)

    def upload(self, name: str, file: bytes) -> None:
        """Into the host's temp folder; a graph loads it as `loaded_as(name)`."""
        form = {"type": "temp", "subfolder": FOLDER, "overwrite": "true", "image": (name, file, "image/png")}
        self._ask("POST", "/upload/image", fields=form)

    def forget(self, prompt: str) -> None:
        """Remove it from the host's history, which holds every graph."""
        self._call("POST", "/history", ANSWER, json={"delete": [prompt]})

    def cancel(self, prompt: str) -> None:
        """Take it out of the queue, or end it where it runs, and remove it from the history; nobody else's prompt is
        touched. A model call that keeps the host longer than SECONDS_TO_END is left: it ends later, and stays there.
        """
        self._call("POST", "/queue", ANSWER, json={"delete": [prompt]})
        end = time.monotonic() + SECONDS_TO_END
        while self.place(prompt):
            # Again each time: a host forgets what it was told between taking a prompt and beginning it.
            self._call("POST", "/interrupt", ANSWER, json={"prompt_id": prompt})
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        self.forget(prompt)

    def _ask(self, method: str, path: str, most: int = ANSWER, seconds: float = 0.0, **sent: Any) -> bytes:
        return self._good(*self._call(method, path, most, seconds, **sent))

    def _good(self, status: int, body: bytes) -> bytes:
        if status != 200:
            raise HostTrouble(f"answered with status {status}")
        return body

    def _call(self, method: str, path: str, most: int, seconds: float = 0.0, **sent: Any) -> tuple[int, bytes]:
        """Status and body. The body is read piece by piece: a server that sends for ever, or drips, is left."""
        end = time.monotonic() + (seconds or 2 * self.patience)
        body = bytearray()
        try:
            answer = self._http.request(
                method, self.url + path, redirect=False, preload_content=False, decode_content=False, **sent
            )
            try:
                while piece := answer.read1(1 << 16):
                    body += piece
                    if len(body) > most:
                        raise HostTrouble(f"sent more than {most >> 20} MB")
                    if time.monotonic() > end:
                        raise HostTrouble("took too long to answer")
            except BaseException:
                answer.close()
                raise
            answer.release_conn()
            return answer.status, bytes(body)
        except urllib3.exceptions.NewConnectionError:  # a TimeoutError to urllib3, though nobody listens there any more
            raise HostTrouble("cannot be reached: nobody listens there", gone=True) from None
        except urllib3.exceptions.ConnectTimeoutError:
            raise HostTrouble(f"cannot be reached: no connection within {self._connect:g} s", gone=True) from None
        except urllib3.exceptions.TimeoutError:
            raise HostTrouble(f"did not answer within {self.patience:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise HostTrouble(f"cannot be reached ({type(error).__name__})", gone=True) from None

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self._nonsense() from None

    def _read(self, model: type[M], body: bytes) -> M:
        return self._checked(model, self._json(body))

    def _checked(self, model: type[M], value: Any) -> M:
        try:
            # Through JSON's own rules: what is a list there may be a tuple here.
            return model.model_validate_json(json.dumps(value))
        except (ValidationError, ValueError, RecursionError):
            raise self._nonsense() from None

    def _nonsense(self) -> HostTrouble:
        return HostTrouble("answers what no ComfyUI says")


def loaded_as(name: str) -> str:
    """What Load Image calls an uploaded file."""
    return f"{FOLDER}/{name} [temp]"
