"""Which row an actor gets next: one of the models that it has loaded, if there is one near the front."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .doubts import MOST_ENDS, Doubts
from .interface import Task

AHEAD = 8  # rows that are looked at, for each member


class Rows:
    """Tasks, pulled from their iterator as they are wanted; those given back come first.

    crew: who is at work, as the caller keeps it; members have `models`, of their last row, and `ends`.
    """

    def __init__(self, tasks: Iterable[Task], crew: list[Any]):
        self._tasks, self._crew = iter(tasks), crew
        self._near: list[Task] = []
        self._ahead = AHEAD * len(crew)
        self._doubts = Doubts(crew)

    def take(self, member: Any) -> Task | None:
        """The first one of the member's models, else of models that no other has, else the first. One that a member
        ended with it takes again only where all that are left have."""
        self._look()
        others = {one.models for one in self._crew if one is not member}
        asked = ((self._doubts.turn(task.key, member), task) for task in self._near)
        able = [(turn, task) for turn, task in asked if turn is not None]
        if not able or self.unfit(member):
            return None
        _, task = min(able, key=lambda one: (one[0], one[1].models != member.models, one[1].models in others))
        self._near.remove(task)
        return task

    def settled(self, task: Task, member: Any, error: str) -> bool:
        """Whether what became of it is to be kept; else another tries it. error: "" where it was made."""
        if not error:
            self._doubts.made(task.key, member)
        elif self._doubts.failed(task.key, member, error):
            self._near.insert(0, task)
            return False
        return True

    def unfit(self, member: Any) -> str:
        """Why a member is to be given up; "": it is not."""
        return self._doubts.unfit(member)

    def drop(self, member: Any) -> None:
        """Once the caller has taken it out of the crew."""
        self._doubts.drop(member)

    def _look(self) -> None:
        while len(self._near) < self._ahead and (task := next(self._tasks, None)) is not None:
            self._near.append(task)

    def give_back(self, task: Task, member: Any, over: bool) -> bool:
        """Whether it is to be tried again: not where too many have ended with it, nor where all that are left have.

        over: the member is given up, or was lost with its node, so that it may not have been the row.
        """
        ended = self._doubts.ended(task.key, member)
        again = len(ended) < MOST_ENDS and (over or any(one not in ended for one in self._crew))
        if again:
            self._near.insert(0, task)
        return again

    def forgive(self, task: Task) -> None:
        """It was the row: its members have done nothing wrong."""
        for member in self._doubts.forget(task.key):
            member.ends = 0

    def all_given(self) -> bool:
        self._look()
        return not self._near
