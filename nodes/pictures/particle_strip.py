"""The strip of a run with particles, while they are sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image

from .colours import INK, lineage
from .strip import GAP, LINE, STRIP_LARGEST, STRIP_TEXT, Strip
from .text import Label, Text, drawable, font

BAR = 5  # px: the coloured bar below a picture
SMALL, SMALL_LINE = 11, 14  # px: a text for pictures that have no room for another
USUAL = "00.0"  # a score's width
LAYOUTS = ((1, STRIP_TEXT, LINE), (2, STRIP_TEXT, LINE), (2, SMALL, SMALL_LINE), (0, 0, 0))  # lines below the bar


class ParticleStrip(Strip):
    """A row per group, a column per particle; element m·N + n is the place of particle n of group m.

    Below each picture stand its score and from which starting particle of its group it descends, as a number, counted
    from 1, and as a bar in that particle's colour: a row of one colour is one family. Where there is no room the two
    stand below each other, then smaller; then there is the bar alone, then nothing.
    rows: the label of each group, one text or lines of it; None: their numbers, where there are several.
    """

    band = GAP

    def __init__(self, groups: int, particles: int, rows: Sequence[str | Sequence[str]] | None = None):
        if rows is None:
            rows = [f"group {m + 1}" if groups > 1 else () for m in range(groups)]
        if len(rows) != groups:
            raise ValueError(f"{groups} groups need as many labels, not {len(rows)}")
        self.scores: dict[int, str] = {}
        self.roots: dict[int, int] = {}
        sides = [[row] if isinstance(row, str) else row for row in rows]
        self._begin(particles, groups, (), [[drawable(part) for part in parts] for parts in sides])

    def tell(self, place: int, score: str | None, root: int) -> None:
        """score: in words, None where it is not known. root: the starting particle it descends from, of its group's,
        from 0."""
        self.scores.pop(place, None)
        if score:
            self.scores[place] = drawable(score)
        self.roots[place] = root

    def _arrange(self, width: int, height: int) -> None:
        """With as much below the pictures as leaves them half of their height at least."""
        self.foot = self.lines = 0
        super()._arrange(width, height)  # for how many are shown
        for self.lines, self.text, self.line in LAYOUTS:
            self.foot = BAR + self.lines * self.line
            if 2 * self.foot <= (STRIP_LARGEST - self.band) / self.shown[1]:
                super()._arrange(width, height)
                if self._has_room():
                    return
        self.foot = self.lines = 0
        super()._arrange(width, height)

    def _has_room(self) -> bool:
        if not self.lines:
            return self.size[0] >= BAR
        score, root, longer = (font(self.text).getlength(text) for text in (USUAL, *self._roots(self.columns)))
        room = self.size[0] - (score + 3 * GAP if self.lines == 1 else 0)
        self.short = longer > room
        return root <= room and score <= self.size[0]

    def _roots(self, number: int) -> tuple[str, str]:
        """What stands for a starting particle, short and with a word to it."""
        return f"{number}", f"from {number}"

    def _mark(self, out: Image.Image, place: int, x: int, y: int) -> None:
        if self.foot and place in self.roots:
            top = y + self.size[1] + 1
            out.paste(lineage(self.roots[place]), (x, top, x + self.size[0], top + BAR - 1))

    def _labels(self, width: int, height: int) -> Iterator[Label]:
        yield from super()._labels(width, height)
        if not self.lines:
            return
        for place, x, y in self._places():
            top, right, free = y + self.size[1] + BAR, x + self.size[0], float(self.size[0])
            root = self._root(place)
            if self.lines == 1:
                x, right, free = x + GAP, right - GAP, free - 3 * GAP - font(self.text).getlength(root)
            middle, score = (x + right) / 2, self.scores.get(place, "")
            if score and font(self.text).getlength(score) <= free:
                yield self._text(score, INK), *((x, top, "l") if self.lines == 1 else (middle, top, "m"))
            if root:
                text = self._text(root, lineage(self.roots[place]))
                yield text, *((right, top, "r") if self.lines == 1 else (middle, top + self.line, "m"))

    def _root(self, place: int) -> str:
        """As it is written at this place; "" where it is not known."""
        if place not in self.roots:
            return ""
        return self._roots(self.roots[place] + 1)[0 if self.short else 1]

    def _text(self, text: str, colour: tuple[int, int, int]) -> Text:
        return Text([text], self.text, colour, self.line, whole=False)
