"""Ray: actors that each own a ComfyUI, on this machine or on a cluster. The extra `ray`.

Ray places the actors, restarts one that is lost with its process or node, and gives its row to it again. What is
decided here is only which row an actor gets next, and when one is given up: it has no place, starts no host, hangs, or
answers nonsense. Its row goes to another.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..errors import HostTrouble, PlanError, StudyError
from ..plan import Actors, OnRay
from .doubts import MOST_ENDS
from .interface import Outcome, Task
from .pool import SECONDS_TO_STOP
from .ray_actor import Gone, HostActor, Start
from .ray_rows import Rows

BEAT = 2.0  # seconds between two questions to an actor whether it lives


def actors_of(settings: OnRay, scoring: bool) -> Actors:
    return settings.scoring or settings if scoring else settings


@dataclass(eq=False)
class Member:
    """An actor, as it is known here."""

    name: str
    handle: Any
    placed: bool = False  # it has answered
    task: Task | None = None
    made: Any = None  # the reference to what becomes of the task
    asked: Any = None  # the reference to its next answer that it lives
    last: float = -BEAT  # when it was last asked
    silent: float | None = None  # when it was asked first after its last answer
    models: frozenset[tuple[str, str]] | None = None  # of its last row
    ends: int = 0  # rows that ended its host, one after the other

    def give(self, task: Task) -> None:
        self.task, self.models = task, task.models
        self.made = self.handle.make.options(retry_exceptions=[Gone]).remote(task)

    def ask(self, now: float) -> None:
        if self.asked is None and now - self.last > BEAT:
            self.asked, self.last = self.handle.where.remote(), now
            self.silent = now if self.silent is None else self.silent

    def references(self) -> list[Any]:
        return [one for one in (self.made, self.asked) if one is not None]


@dataclass
class RayActors:
    """A back end. scoring: of the second stage. notice: told in a sentence when an actor is given up."""

    settings: OnRay
    scoring: bool
    start: Start
    notice: Callable[[str], None]
    ray: Any = field(init=False)
    _crew: list[Member] = field(default_factory=list)  # those not given up; they live from the first run to `close`
    _cluster: ExitStack | None = None  # the connection

    def __post_init__(self) -> None:
        """Raises PlanError where Ray is not installed."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise PlanError(
                "Ray is not installed: pip install 'realign[ray]', here and on the cluster's nodes; or leave back_end "
                "and --ray out."
            ) from None
        self.ray = ray

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        crew = self._ready()
        rows = Rows(tasks, crew)
        last = ""
        try:
            while crew and not (rows.all_given() and not any(one.task for one in crew)):
                for one in crew:
                    if one.placed and one.task is None and (task := rows.take(one)) is not None:
                        one.give(task)
                for one in self._answered(crew, rows):
                    outcome, trouble = self._settled(one, rows)
                    if outcome is not None:
                        yield outcome
                    if trouble:
                        last = trouble
                        crew.remove(one)
                        rows.drop(one)
                        self.notice(f"{trouble} It is given up, and what it was at goes to another.")
                        self._end([one])
            if not rows.all_given():
                raise HostTrouble(f"No host is left. {last} Run the same command again to go on.")
        finally:
            busy = [one for one in crew if one.task is not None]
            self._end(busy)
            crew[:] = [one for one in crew if one not in busy]

    def close(self) -> None:
        crew, self._crew = self._crew, []
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            with cluster:
                self._end(crew)

    # Actors

    def _ready(self) -> list[Member]:
        """The crew, of the cluster to which the first run connects."""
        if not self._crew:
            if self._cluster is None:
                cluster = ExitStack()
                cluster.enter_context(self._connected())
                self._cluster = cluster
            self._crew = self._started()
        for one in self._crew:
            one.silent = None if one.silent is None else time.monotonic()  # nobody listened since the last run
        return self._crew

    def _started(self) -> list[Member]:
        ray, wanted = self.ray, actors_of(self.settings, self.scoring)
        there = ray.cluster_resources()
        gpus = wanted.num_gpus if wanted.num_gpus is not None else float(there.get("GPU", 0) >= 1)
        needs = {"CPU": wanted.num_cpus, "GPU": gpus, **wanted.resources}
        self._needs = ", ".join(f"{value:g} {name}" for name, value in needs.items() if value)
        if self.settings.address == "local":
            short = [name for name, value in needs.items() if value * wanted.actors > there.get(name, 0)]
            if short:
                has = ", ".join(f"{there.get(name, 0):g} {name}" for name in short)
                raise PlanError(
                    f"hosts.ray wants {wanted.actors} actors with {self._needs} each, and this machine has {has}: ask "
                    "for less, or name a cluster's address."
                )
        kind = ray.remote(HostActor).options(
            num_cpus=wanted.num_cpus,
            num_gpus=gpus,
            resources=wanted.resources or None,
            max_restarts=self.settings.max_restarts,
            max_task_retries=self.settings.max_task_retries,
            max_concurrency=4,  # a row, and meanwhile `where` and `close`
        )
        names = [f"actor {number}" for number in range(1, wanted.actors + 1)]
        return [Member(name, kind.remote(name, self.start)) for name in names]

    def _answered(self, crew: Sequence[Member], rows: Rows) -> list[Member]:
        """Those of which something is known after a moment, or of which nothing has been heard for too long; and those
        that fail at what others make."""
        ray, now = self.ray, time.monotonic()
        for one in crew:
            one.ask(now)
        references = [reference for one in crew for reference in one.references()]
        ready: set[Any] = set()
        with _cluster_gone():
            if references and ray.wait(references, num_returns=1, timeout=BEAT)[0]:
                ready = set(ray.wait(references, num_returns=len(references), timeout=0)[0])
        end = time.monotonic() - self.settings.place_minutes * 60
        silent = [one for one in crew if one.silent is not None and one.silent < end]
        over = [one for one in crew if one in silent or rows.unfit(one)]
        return [one for one in crew if one in over or any(each in ready for each in one.references())]

    def _settled(self, one: Member, rows: Rows) -> tuple[Outcome | None, str]:
        """What became of its row, if that is known, and why it is given up, "" where it is not."""
        if unfit := rows.unfit(one):
            return self._lost(one, f"{one.name} {unfit.rstrip('.')}.", rows)
        ready = self.ray.wait(one.references(), num_returns=len(one.references()), timeout=0)[0]
        if one.made in ready:
            made, task, one.made, one.task = one.made, one.task, None, None
            assert task is not None
            try:
                outcome: Outcome = self.ray.get(made)
            except Exception as error:
                return self._failed(one, task, error, rows)
            one.ends = 0
            return outcome if rows.settled(task, one, outcome.error) else None, ""
        if one.asked in ready:
            asked, one.asked = one.asked, None
            try:
                self.ray.get(asked)
                one.silent, one.placed = None, True
                return None, ""
            except self.ray.exceptions.ActorDiedError as error:
                return self._lost(one, f"{one.name} is gone: {_first(error)}", rows)
            except self.ray.exceptions.RayError:
                return None, ""  # it is being restarted
        minutes = f"{self.settings.place_minutes:g} minutes"
        if one.placed:
            return self._lost(one, f"{one.name} has not been heard of for {minutes}.", rows)
        there = ", ".join(f"{value:g} {name}" for name, value in self.ray.cluster_resources().items() if len(name) < 9)
        return self._lost(
            one, f"{one.name} found no place in {minutes}: it needs {self._needs}, and the cluster has {there}.", rows
        )

    def _failed(self, one: Member, task: Task, error: Exception, rows: Rows) -> tuple[Outcome | None, str]:
        """A row that Ray has tried on this actor as often as it may."""
        cause, over, lost = getattr(error, "cause", error), True, False
        if isinstance(cause, HostTrouble):
            said, over = f"{cause}.", not cause.gone
        elif isinstance(error, self.ray.exceptions.RayActorError):
            said, lost = f"{one.name} was lost while it made a row: {_first(error)}", True
            over = isinstance(error, self.ray.exceptions.ActorDiedError)
            one.placed = False  # until it answers again, from wherever Ray restarts it
        else:
            said = f"{one.name} cannot work: {_first(cause)}"
        one.ends += not lost
        outcome = self._given_back(task, one, over or lost, said, rows)
        return outcome, said if over or one.ends >= MOST_ENDS else ""

    def _lost(self, one: Member, why: str, rows: Rows) -> tuple[Outcome | None, str]:
        """An actor that is gone, with the row that it was at."""
        return (self._given_back(one.task, one, True, why, rows) if one.task is not None else None), why

    def _given_back(self, task: Task, one: Member, over: bool, why: str, rows: Rows) -> Outcome | None:
        """None where another, or the same one, is to try it again. over: see Rows.give_back."""
        if rows.give_back(task, one, over):
            return None
        rows.forgive(task)
        return Outcome(task.key, one.name, error=f"Hosts ended or fell silent whenever they made this row. {why}")

    def _end(self, crew: Sequence[Member]) -> None:
        """Their work, their hosts and they themselves."""
        with suppress(Exception):
            placed = [one.handle.close.remote() for one in crew if one.placed]
            if placed:
                self.ray.wait(placed, num_returns=len(placed), timeout=SECONDS_TO_STOP)
        for one in crew:
            with suppress(Exception):
                self.ray.kill(one.handle)

    # The cluster

    @contextmanager
    def _connected(self) -> Iterator[None]:
        ray, address = self.ray, self.settings.address
        _reachable(address)
        main = threading.current_thread() is threading.main_thread()
        on_term = signal.getsignal(signal.SIGTERM)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            options["include_dashboard"] = False
        try:
            ray.init(address, **options)
        except Exception as error:
            raise HostTrouble(
                f"The Ray cluster at {address} cannot be used: {_first(error)} It has to be of this Ray's version and "
                "Python; and if it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
            ) from None
        try:
            if main:
                signal.signal(signal.SIGTERM, on_term)  # Ray puts its own there
            yield
        finally:
            with suppress(Exception):
                ray.shutdown()


def _reachable(address: str) -> None:
    """Ray itself waits for minutes, and some of its versions end the process."""
    if ":" not in address:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise HostTrouble(
            f"No Ray cluster answers at {address} ({error}): start its head by `ray start --head`, or mend the address."
        ) from None


@contextmanager
def _cluster_gone() -> Iterator[None]:
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        raise HostTrouble(f"The Ray cluster is gone: {_first(error)} Run the same command again to go on.") from None


def _first(error: BaseException) -> str:
    """The line that says most of what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:500]
