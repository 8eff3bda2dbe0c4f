"""Tasks that several members share: whoever is free takes the next, and what one gives back another takes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

from .doubts import MOST_ENDS, Doubts
from .interface import Task

M = TypeVar("M")


class SharedQueue(Generic[M]):
    """Pulls tasks from the iterator as they are asked for; those given back come first.

    members: the list is the caller's; who is dropped is removed from it.
    """

    def __init__(self, tasks: Iterable[Task], members: list[M]):
        self._tasks, self._members = iter(tasks), members
        self._back: list[Task] = []
        self._out, self._left = 0, True  # taken and not yet done; whether the iterator may have more
        self._doubts = Doubts(members)
        self._changed = threading.Condition()
        self.stopped = False

    def take(self, member: M) -> Task | None:
        """The next one; waits while others have some that may come back. None: nothing is left to do for it."""
        with self._changed:
            while not self.stopped and not self._doubts.unfit(member):
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
        asked = ((self._doubts.turn(task.key, member), place) for place, task in enumerate(self._back))
        turns = [(turn, place) for turn, place in asked if turn is not None]
        turn, place = min(turns, default=(None, 0))
        if turn is not None and turn <= 1:
            return self._back.pop(place)
        if self._left and self._doubts.turn("", member) is not None:
            found = next(self._tasks, None)
            self._left = found is not None
            if found is not None:
                return found
        return self._back.pop(place) if turn is not None else None

    def settled(self, task: Task, member: M, error: str) -> bool:
        """Whether what became of it is to be kept; else another tries it. error: "" where it was made."""
        with self._changed:
            self._out -= 1
            again = bool(error) and self._doubts.failed(task.key, member, error)
            if again:
                self._back.append(task)
            elif not error:
                self._doubts.made(task.key, member)
            self._changed.notify_all()
            return not again

    def unfit(self, member: M) -> str:
        """Why a member is to be dropped; "": it is not."""
        with self._changed:
            return self._doubts.unfit(member)

    def give_back(self, task: Task, member: M) -> bool:
        """Whether it is to be tried again: not where too many members have ended with it."""
        with self._changed:
            self._out -= 1
            again = len(self._doubts.ended(task.key, member)) < MOST_ENDS
            if again:
                self._back.append(task)
            else:
                self._doubts.forget(task.key)
            self._changed.notify_all()
            return again

    def drop(self, member: M) -> None:
        with self._changed:
            self._members.remove(member)
            self._doubts.drop(member)
            self._changed.notify_all()

    def remain(self) -> bool:
        """Whether something is left to do, once nobody is at work."""
        return bool(self._back) or (self._left and next(self._tasks, None) is not None)

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
