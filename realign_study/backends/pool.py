"""Any number of ComfyUIs that take rows from one queue: whoever is free takes the next.

A host that is gone gets its time to come back, and is then dropped; one that hangs or answers nonsense is dropped at
once. Its row goes to another. So does a row that fails at a host which works otherwise, once: where it fails again it
is recorded as failed, and a host that fails at what others make is dropped (doubts.py). A row that ended three hosts is
recorded as failed, and does not end the rest.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..answers import Finished, opened, read_text
from ..errors import HostTrouble, RowFailed
from ..hosts import Client
from .doubts import MOST_ENDS
from .interface import Outcome, Task
from .shared_queue import SharedQueue

SOON, LATE = 0.03, 1.0  # seconds between two looks at a prompt, at first and in the end: a twentieth of what has passed
SECONDS_TO_STOP = 10.0
LOOK_AT_QUEUE = 5.0  # seconds between two looks at whether a host still has a prompt


class Stopped(Exception):
    """The study ends: leave everything."""


@dataclass
class Visit:
    """One task on one host. `make` gives its outcome; raises HostTrouble where the host is not fit."""

    client: Client
    row_seconds: float
    stopped: Callable[[], bool] = lambda: False

    def make(self, task: Task, worker: str, host: str) -> Outcome:
        outcome = self._made(task, worker, host)
        if not outcome.error or not task.parts:
            return outcome
        told: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for part in task.parts:
            one = self._made(part, worker, host)
            told |= one.told
            errors |= dict.fromkeys(part.wanted, one.error) if one.error else {}
        return replace(outcome, told=told, errors=errors, error="; ".join(dict.fromkeys(errors.values())))

    def _made(self, task: Task, worker: str, host: str) -> Outcome:
        client = self.client
        try:
            for name, file in task.uploads.items():
                client.upload(name, file)
            prompt = client.queue(task.graph)
            finished = self._wait(prompt)
            if error := finished.error():
                raise RowFailed(error)
            picture = None
            if task.picture is not None:
                files = finished.shown(task.picture).images
                if len(files) != 1:
                    raise RowFailed(f"The workflow gave {len(files) or 'no'} pictures, and a row is one.")
                picture = client.picture(files[0])
                opened(picture)
            told = {name: read_text(one.kind, finished.shown(one.node).text) for name, one in task.wanted.items()}
        except RowFailed as error:
            return Outcome(task.key, worker, host, error=str(error))
        return Outcome(task.key, worker, host, finished.seconds(), picture, told)

    def _wait(self, prompt: str) -> Finished:
        """Until the host has finished it, one way or another; what it then keeps of it is removed there."""
        try:
            finished = self._finished(prompt)
        except (Stopped, HostTrouble) as ended:
            if not getattr(ended, "gone", False):
                with suppress(HostTrouble):
                    self.client.cancel(prompt)
            raise
        with suppress(HostTrouble):
            self.client.forget(prompt)
        return finished

    def _finished(self, prompt: str) -> Finished:
        start = time.monotonic()
        began: float | None = start  # to run; None: others' prompts are before it
        look = start + LOOK_AT_QUEUE
        while True:
            if finished := self.client.finished(prompt):
                return finished
            now = time.monotonic()
            late = began is not None and now > began + self.row_seconds
            if late or now > look:
                look = now + LOOK_AT_QUEUE
                place = self.client.place(prompt)
                if place is None and not self.client.finished(prompt):
                    raise HostTrouble("has lost a row: it was restarted, or its queue was cleared", gone=True)
                if place == "behind":
                    began = None
                elif began is None:
                    began = now
                elif late:
                    raise HostTrouble(f"did not finish a row in {self.row_seconds / 60:g} minutes")
            if self.stopped():
                raise Stopped
            time.sleep(min(max((now - start) / 20, SOON), LATE))


class Member(Protocol):
    """A host of a pool."""

    name: str
    url: str

    def ready(self, stopped: Callable[[], bool]) -> None:
        """Until it answers, started or started again where that is ours to do. Raises HostTrouble where it does not."""

    def tidy(self) -> None:
        """A row is over: what it left on the host is removed, where that is ours to do."""

    def close(self) -> None:
        """The study ends."""


class Address:
    """A ComfyUI that others run, at an address."""

    def __init__(self, url: str, patience: float):
        self.name = self.url = url
        self.patience = patience

    def ready(self, stopped: Callable[[], bool]) -> None:
        wait_for(self.url, self.patience, stopped)

    def tidy(self) -> None:
        pass

    def close(self) -> None:
        pass


def wait_for(url: str, patience: float, stopped: Callable[[], bool]) -> None:
    """Until a ComfyUI answers there. Raises HostTrouble after `patience` seconds, Stopped where the study ends."""
    client = Client(url, patience)
    end, pause = time.monotonic() + patience, 0.1
    try:
        while True:
            try:
                client.about()
                return
            except HostTrouble:
                if time.monotonic() > end:
                    raise
            if stopped():
                raise Stopped
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
    finally:
        client.close()


class Pool:
    """A back end of members.

    members: those that are fit; one that is dropped in a run gets nothing in the next. row_seconds: for a row;
    patience: seconds that an answer may take; notice: told in a sentence when a member is dropped.
    """

    def __init__(self, members: list[Member], row_seconds: float, patience: float, notice: Callable[[str], None]):
        self.members, self._all = list(members), members
        self.row_seconds, self.patience, self.notice = row_seconds, patience, notice

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        shared = SharedQueue[Member](tasks, self.members)  # which drops some
        results: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(one, shared, results), daemon=True) for one in self.members
        ]
        for thread in threads:
            thread.start()
        working, last = len(threads), ""
        try:
            while working:
                result = results.get()
                if isinstance(result, Outcome):
                    yield result
                elif isinstance(result, HostTrouble):
                    working, last = working - 1, str(result)
                    self.notice(f"{last.rstrip('.')}. It is dropped, its row goes to another.")
                elif isinstance(result, BaseException):
                    raise result
                else:
                    working -= 1
            if shared.remain():
                raise HostTrouble(f"No host is left. The last one: {last}. Run the same command again to go on.")
        finally:
            shared.stop()
            end = time.monotonic() + SECONDS_TO_STOP
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))  # one that waits for a silent host is left behind

    def close(self) -> None:
        for member in self._all:
            member.close()

    def _work(
        self, member: Member, shared: SharedQueue[Member], results: queue.SimpleQueue[Outcome | BaseException | None]
    ) -> None:
        """A member's thread: says in the end why it is over, None where nothing is left to do."""
        try:
            trouble = self._serve(member, shared, results)
            if trouble is not None:
                shared.drop(member)
            results.put(trouble)
        except Stopped:
            results.put(None)
        except BaseException as error:  # a fault of ours, or of the tasks: the study is to end with it
            results.put(error)

    def _serve(
        self, member: Member, shared: SharedQueue[Member], results: queue.SimpleQueue[Outcome | BaseException | None]
    ) -> HostTrouble | None:
        def stopped() -> bool:
            return shared.stopped

        ends = 0  # one after the other
        while True:
            try:
                member.ready(stopped)
                client = Client(member.url, self.patience)
                host = client.about().sentence()
            except HostTrouble as trouble:
                return _by(member, trouble)
            while (task := shared.take(member)) is not None:
                visit = Visit(client, self.row_seconds, stopped)
                try:
                    outcome = visit.make(task, member.name, host)
                    member.tidy()
                    if shared.settled(task, member, outcome.error):
                        results.put(outcome)
                    ends = 0
                except HostTrouble as trouble:
                    if not shared.give_back(task, member):
                        results.put(Outcome(task.key, member.name, host, error=_ended(member, trouble)))
                        ends = -1  # it was the row
                    ends += 1
                    if not trouble.gone or ends == MOST_ENDS:
                        return _by(member, trouble)
                    break
            else:
                client.close()
                unfit = shared.unfit(member)
                return _by(member, HostTrouble(unfit)) if unfit else None
            client.close()


def _by(member: Member, trouble: HostTrouble) -> HostTrouble:
    return HostTrouble(f"{member.name} {trouble}", trouble.gone)


def _ended(member: Member, trouble: HostTrouble) -> str:
    return f"{MOST_ENDS} hosts ended or fell silent while they made this row; the last: {_by(member, trouble)}."
