"""Which row an actor gets next: one of the models that it has loaded, if there is one near the front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .interface import Task
from .shared_queue import MOST_ENDS

AHEAD = 8  # rows that are looked at, for each member


class Rows:
    """Tasks, pulled from their iterator as they are wanted; those given back come first.

    crew: who is at work, as the caller keeps it; members have `models`, of their last row, and `ends`.
    """

    def __init__(self, tasks: Iterable[Task], crew: Sequence[Any]):
        self._tasks, self._crew = iter(tasks), crew
        self._near: list[Task] = []
        self._ahead = AHEAD * len(crew)
        self._ended: dict[str, list[Any]] = {}  # by row, who ended with it

    def take(self, member: Any) -> Task | None:
        """The first one of the member's models, else of models that no other has, else the first. One that a member
        ended with it takes again only where all that are left have."""
        self._look()
        others = {one.models for one in self._crew if one is not member}
        able = [task for task in self._near if self._may(member, task)]
        if not able:
            return None
        task = min(able, key=lambda task: (task.models != member.models, task.models in others))
        self._near.remove(task)
        return task

    def _may(self, member: Any, task: Task) -> bool:
        ended = self._ended.get(task.key, [])
        return member not in ended or all(one in ended for one in self._crew)

    def _look(self) -> None:
        while len(self._near) < self._ahead and (task := next(self._tasks, None)) is not None:
            self._near.append(task)

    def give_back(self, task: Task, member: Any, over: bool) -> bool:
        """Whether it is to be tried again: not where too many have ended with it, nor where all that are left have.

        over: the member is given up, or was lost with its node, so that it may not have been the row.
        """
        ended = self._ended.setdefault(task.key, [])
        ended.append(member)
        again = len(ended) < MOST_ENDS and (over or any(one not in ended for one in self._crew))
        if again:
            self._near.insert(0, task)
        return again

    def forgive(self, task: Task) -> None:
        """It was the row: its members have done nothing wrong."""
        for member in self._ended.pop(task.key, []):
            member.ends = 0

    def all_given(self) -> bool:
        self._look()
        return not self._near
