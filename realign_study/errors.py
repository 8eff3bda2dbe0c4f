"""What ends a command: sentences that say what was wrong, what would be right and what to do."""

from __future__ import annotations


def shown(text: str) -> str:
    """A text as a terminal may show it: what a host says could hold codes that a terminal obeys."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)


class StudyError(Exception):
    """The study cannot go on. The message is fit to be shown, and nothing that was finished is lost."""


class PlanError(StudyError):
    """The plan, its prompts or its workflow are not as they must be."""


class FolderError(StudyError):
    """The study's folder cannot be read or written."""


class HostTrouble(StudyError):
    """A host is not fit to go on: it is gone, silent, or answers what no ComfyUI would. Its row goes to another.

    gone: it cannot be reached, or has lost what it was given; it may come back.
    """

    def __init__(self, message: str, gone: bool = False):
        super().__init__(message)
        self.gone = gone

    def __reduce__(self) -> tuple[type[HostTrouble], tuple[str, bool]]:
        return HostTrouble, (str(self), self.gone)  # so that it can be sent from another machine


class RowFailed(StudyError):
    """The host works, and this row cannot be made: recorded, and the rest goes on."""
