"""Tasks that several members share: whoever is free takes the next, and what one gives back another takes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from .interface import Task

M = TypeVar("M")
MOST_ENDS = 3  # members that a row may end


class SharedQueue(Generic[M]):
    """Pulls tasks from the iterator as they are asked for; those given back come first.

    members: the list is the caller's; who is dropped is removed from it.
    """

    def __init__(self, tasks: Iterable[Task], members: list[M]):
        self._tasks, self._members = iter(tasks), members
        self._back: list[Task] = []
        self._out, self._left = 0, True  # taken and not yet done; whether the iterator may have more
        self._ended: dict[str, list[M]] = {}  # by row, who ended with it
        self._changed = threading.Condition()
        self.stopped = False

    def take(self, member: M) -> Task | None:
        """The next one; waits while others have some that may come back. None: nothing is left to do."""
        with self._changed:
            while not self.stopped:
                task = self._next(member)
                if task is not None:
                    self._out += 1
                    return task
                if not self._out and not self._back:
                    break
                self._changed.wait(1.0)
            self._changed.notify_all()
            return None

    def _next(self, member: M) -> Task | None:
        """What a member ended with it takes again only where all others that are left have ended with it too."""
        for task in self._back:
            ended = self._ended.get(task.key, [])
            if member not in ended or all(one in ended for one in self._members):
                self._back.remove(task)
                return task
        found = next(self._tasks, None) if self._left else None
        self._left = found is not None
        return found

    def done(self) -> None:
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def give_back(self, task: Task, member: M) -> bool:
        """Whether it is to be tried again: not where too many members have ended with it."""
        with self._changed:
            self._out -= 1
            ended = self._ended.setdefault(task.key, [])
            ended.append(member)
            again = len(ended) < MOST_ENDS
            if again:
                self._back.append(task)
            self._changed.notify_all()
            return again

    def drop(self, member: M) -> None:
        with self._changed:
            self._members.remove(member)
            self._changed.notify_all()

    def remain(self) -> bool:
        """Whether something is left to do, once nobody is at work."""
        return bool(self._back) or (self._left and next(self._tasks, None) is not None)

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
