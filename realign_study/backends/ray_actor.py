"""What runs in a Ray actor: one ComfyUI that the actor owns, and the rows made on it. Imports nothing of Ray."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostTrouble, StudyError
from ..hosts import Client
from .interface import Outcome, Task
from .local import LocalHost
from .pool import Visit


@dataclass(frozen=True)
class Start:
    """How each actor starts its ComfyUI, and how long it waits for it."""

    folder: str  # on the node; may begin with ~
    python: str | None
    args: tuple[str, ...]
    row_seconds: float
    patience: float  # seconds


class Gone(HostTrouble):
    """The host ended with a row, or lost it: Ray tries the row again, on another host of the same actor."""

    def __reduce__(self) -> tuple[type[Gone], tuple[str, bool]]:
        return Gone, (str(self), True)


class HostActor:
    """`make` and, meanwhile, `where` and `close`: Ray runs them on threads of their own."""

    def __init__(self, name: str, start: Start):
        self.name, self.start = name, start
        self._host: LocalHost | None = None
        self._stopped = False

    def where(self) -> str:
        """The node's name: whoever hears it knows that the actor has a place and lives."""
        return socket.gethostname()

    def make(self, task: Task) -> Outcome:
        """Raises Gone, and HostTrouble where the actor is no longer fit: no host starts here, or it hangs, or it
        answers nonsense."""
        worker = f"{self.name} on {socket.gethostname()}"
        try:
            client = self._client()
        except StudyError as error:
            raise HostTrouble(f"{worker} has no host: {error}") from None
        try:
            return Visit(client, self.start.row_seconds, self._over).make(task, worker, client.about().sentence())
        except HostTrouble as trouble:
            if trouble.gone:
                raise Gone(f"{worker} {trouble}", True) from None
            raise HostTrouble(f"{worker} {trouble}") from None
        finally:
            client.close()
            if self._host is not None:
                self._host.tidy()

    def _client(self) -> Client:
        if self._host is None:
            self._host = LocalHost(Path(self.start.folder).expanduser(), self.start.python, list(self.start.args))
        self._host.ready(self._over)
        return Client(self._host.url, self.start.patience)

    def _over(self) -> bool:
        return self._stopped

    def close(self) -> None:
        """What it is at ends at once, and its host with it."""
        self._stopped = True
        if self._host is not None:
            self._host.close()
