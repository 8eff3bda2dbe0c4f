"""What a grid of pictures says: its labels, and the footer that says what they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .facts import Facts
from .graph_words import Graph, model_files, prompt_text
from .labels import (
    WITHOUT_REWARD,
    anchor_label,
    column_label,
    kl_parts,
    prompts_label,
    reward_label,
    row_label,
    score_parts,
    settings_label,
    strength_parts,
)
from .text import LEFT_OUT, drawable

ROW = 12  # pictures in a row or a column of their own, at the most; more stand in a table
SHORT_ROW = 5  # the same of pictures without a sweep


@dataclass(frozen=True)
class Note:
    """A paragraph of the footer."""

    name: str  # before it, or ""
    text: str


@dataclass(frozen=True)
class Table:
    """What a grid says."""

    columns: int
    title: str  # what the footer begins with
    subtitle: str  # beside that
    heads: Sequence[tuple[str, str]]  # λ and what it stands for, per column; or none
    sides: Sequence[Sequence[str]]  # parts per row, or none
    below: Sequence[Sequence[str]]  # parts per picture
    notes: Sequence[Note]  # the rest of the footer, what matters most first
    own: str = ""  # the user's footer, in place of the notes
    framed: Sequence[int] = ()  # the pictures with a frame: those on the front


def table_of(known: Facts, footer: str, graph: Graph | None, node_id: str | None) -> Table:
    """What the grid of these pictures says. footer: the user's own, or empty."""
    notes = [] if footer.strip() else footer_notes(known, graph, node_id)
    table = swept_table(known, notes) if known.cells else plain_table(known, notes)
    return replace(table, own=footer)


def swept_table(known: Facts, notes: Sequence[Note]) -> Table:
    """λ over the columns, and beside the rows what varies over them.

    A single row or column of many pictures would be a strip too small to look at: its pictures stand in a table that is
    read like a text, each with its own label below.
    """
    rows, columns = known.table.shape
    heads = [column_label(known.cells[i].value, known.beta(i), known.scheduled) for i in known.table[0]]
    if not any(known.beta(i) for i in known.table[0]):
        heads = [(above, "") for above, _ in heads]
    sides = [row_label(known.cells[i], known.varies, known.seed, known.prompts) for i in known.table[:, 0]]
    below = [[*kl_parts(known, i), *score_parts(known, i)] for i in range(known.count)]
    title = _title("λ sweep", known)
    if rows == 1 and columns > ROW:
        below = [[head[0], *parts] for head, parts in zip(heads, below)]
    elif columns == 1 and rows > ROW:
        below = [[*side, *parts] for side, parts in zip(sides, below)]
        title = _title(heads[0][0], known)
    else:
        sides = sides if any(sides) else []
        return Table(columns, title, _subtitle(known), heads, sides, below, notes)
    return Table(_square(known.count), title, _subtitle(known), [], [], below, notes)


def plain_table(known: Facts, notes: Sequence[Note]) -> Table:
    """Pictures without a sweep: in one row, from six on in a table that is wider than high."""
    columns = known.count if known.count <= SHORT_ROW else _square(known.count)
    below = []
    for i in range(known.count):
        parts = [*strength_parts(known, i), *kl_parts(known, i), *score_parts(known, i)]
        below.append(parts or [f"image {i + 1}"])
    title = _title(f"{known.count} pictures" if known.count > 1 else "1 picture", known)
    unused = "the λ sweep that is connected did not run" if known.unused_sweep else ""
    return Table(columns, title, _subtitle(known, unused), heads=[], sides=[], below=below, notes=notes)


def _square(count: int) -> int:
    """The columns of a table of so many pictures that is about as wide as high."""
    return math.ceil(math.sqrt(count))


def footer_notes(known: Facts, graph: Graph | None, node_id: str | None) -> list[Note]:
    """How the pictures were made, as far as it is known from the graph and the trace: models and settings, prompts."""
    anchors = {str(anchor.get("name")) for anchor in known.anchors}
    models = [name for name in model_files(graph, node_id) if name not in anchors]
    said = {
        "": " · ".join(filter(None, (*models, settings_label(known)))),
        "Reward" if known.tilted else "Particles": reward_label(known),
        "Prompt": prompts_label(known) if known.prompts else _prompt(graph, node_id),
        "Negative": prompt_text(graph, node_id, "negative"),
    }
    notes = [Note(name, text.replace("\n", " ")) for name, text in said.items() if text]
    if any(LEFT_OUT in drawable(note.text) for note in notes):
        notes.append(Note(LEFT_OUT, "characters that the labels' font does not have"))
    return notes


def _prompt(graph: Graph | None, node_id: str | None) -> str:
    return prompt_text(graph, node_id) or prompt_text(graph, node_id, "conditioning")


def _subtitle(known: Facts, first: str = "") -> str:
    scheduled = "λ ×: how much of the λ schedule" if known.scheduled else ""
    masked = "λ acts where the λ mask is" if known.any_masked else ""
    kl = "KL to the reference in nats" + WITHOUT_REWARD * known.tilted if known.measured else ""
    return " · ".join(part for part in (first, scheduled, masked, kl) if part)


def _title(what: str, known: Facts) -> str:
    names = " + ".join(map(anchor_label, known.anchors))
    return f"{what} · {names}" if names else what
