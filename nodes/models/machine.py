"""What fails for want of memory or of access is no fault of a file, nor of another pack's code: said as what it is."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import comfy.model_management

# What Python, torch, safetensors and the systems say of memory that is full; Windows' page file among it.
_FULL = re.compile(r"out of memory|not enough memory|can(?:no|')t allocate memory|paging file|os error (?:12|1455)\b")
_FULL_ON_WINDOWS = (8, 14, 1455)
# Raised where a program goes on with what it did not expect, an error's number for its text, say.
_ACCIDENTS = (TypeError, AttributeError, LookupError)


def check_machine(error: Exception, what: str, kind: type[ValueError] = ValueError) -> None:
    """Called first for an error that anything may have raised. what: begins the sentence, “… cannot be loaded”.

    Raises the error itself where it is the user's cancelling, or a device out of memory, for which the host makes
    room; and `kind`, in one sentence, where the computer's memory is full or a file may not be opened.
    """
    chain = [*_chain(error)]
    for one in chain:
        if isinstance(one, comfy.model_management.InterruptProcessingException) or comfy.model_management.is_oom(one):
            raise one
    if any(map(_is_full, chain)):
        raise kind(
            f"{what}: the computer's memory is full. Close other programs, make its swap or page file larger, or take "
            "a smaller model."
        ) from error
    first = next((one for one in chain if not isinstance(one, _ACCIDENTS)), error)
    if isinstance(first, OSError) and first.errno not in (None, errno.EINVAL):  # that is a seek in a broken file
        raise kind(
            f"{what}: its file cannot be opened ({first.strerror}). See whether ComfyUI may read it, and whether its "
            "drive is there."
        ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came of."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        yield found
        seen.append(found)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and (
        error.errno == errno.ENOMEM or getattr(error, "winerror", None) in _FULL_ON_WINDOWS
    ):
        return True
    return isinstance(error, MemoryError) or bool(_FULL.search(str(error).lower()))
