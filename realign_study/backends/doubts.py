"""Rows that went wrong once, and who is to try them next.

Where a row failed, another host's try tells whether it is the row or the host: it fails there too, or is made. Where a
host ended with a row, others take it before that host does.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

M = TypeVar("M")
MOST_ENDS = 3  # members that a row may end
MOST = 3  # rows that fail at a member, while others make them, until it is dropped; and that it may have in doubt


class Doubts(Generic[M]):
    """members: those that are left, a list of the caller's."""

    def __init__(self, members: list[M]):
        self._members = members
        self._first: dict[str, tuple[M, str]] = {}  # by row in doubt, where it failed, and how
        self._ended: dict[str, list[M]] = {}  # by row, who ended with it
        self._proven: set[M] = set()  # whose last row was made
        self._blamed: Counter[M] = Counter()  # rows that others made after it failed at them, since it made one
        self._why: dict[M, str] = {}  # the last of these

    def failed(self, row: str, member: M, error: str) -> bool:
        """Whether another is to try it; else it was the row."""
        self._proven.discard(member)
        if row not in self._first and any(one is not member for one in self._members):
            self._first[row] = member, error
            return True
        self._first.pop(row, None)
        return False

    def made(self, row: str, member: M) -> None:
        self._proven.add(member)
        first, why = self._first.pop(row, (member, ""))
        if first is not member:
            self._blamed[first] += 1
            self._why[first] = why
        self._blamed.pop(member, None)

    def ended(self, row: str, member: M) -> list[M]:
        """The member ended with it. All that have by now."""
        members = self._ended.setdefault(row, [])
        members.append(member)
        return members

    def forget(self, row: str) -> list[M]:
        """It is over otherwise. Who ended with it."""
        self._first.pop(row, None)
        return self._ended.pop(row, [])

    def turn(self, row: str, member: M) -> int | None:
        """When a member takes a row, the least first; None: not at all. One that has made its last row is asked at once
        about one in doubt; one that may be broken itself is asked last, and only where nobody better is left. What a
        member ended with it takes again only where all others that are left have ended with it too."""
        if row not in self._first:
            ended = self._ended.get(row, [])
            if member in ended and not all(one in ended for one in self._members):
                return None
            return None if self._failures(member) >= MOST and len(self._members) > 1 else 1
        first, _ = self._first[row]
        able = [one for one in self._members if one is not first] or self._members
        if member not in able or self._rank(member) < max(map(self._rank, able)):
            return None
        return 0 if member in self._proven else 2

    def unfit(self, member: M) -> str:
        """Why a member is to be dropped; "": it is not."""
        if self._blamed[member] < MOST or all(one is member for one in self._members):
            return ""
        return f"failed at {MOST} rows, one after the other, that others then made; the last: {self._why[member]}"

    def drop(self, member: M) -> None:
        """What it failed at is no longer in doubt: another's failure does not agree with it."""
        self._first = {row: (one, why) for row, (one, why) in self._first.items() if one is not member}

    def _failures(self, member: M) -> int:
        return sum(one is member for one, _ in self._first.values())

    def _rank(self, member: M) -> int:
        return 2 if member in self._proven else int(not self._failures(member))
