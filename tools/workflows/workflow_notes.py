"""The text of notes. The page's own size of it is too small where a whole workflow is seen; that of headings is not."""

from __future__ import annotations

HUGGING_FACE = "https://huggingface.co"
File = tuple[str, str, str]  # its name, the Hugging Face repository, the folder of the host


def note(title: str, *parts: str) -> str:
    """Markdown: the parts are paragraphs, of their own size or `large`."""
    return "\n\n".join((f"# {title}", *parts))


def large(*lines: str) -> str:
    """Lines in a heading's size."""
    return "\\\n".join(lines) + "\n---"


def steps(*lines: str) -> str:
    return large(*(f"{number}\\. {line}" for number, line in enumerate(lines, 1)))


def files(*rows: File) -> str:
    """What is to be fetched."""
    return large(*(f"• {name} from [{page}]({HUGGING_FACE}/{page}) into {where}" for name, page, where in rows))
