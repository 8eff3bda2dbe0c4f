"""What a grid of pictures says: its title, labels and footer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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

PROMPT_LINES, OTHER_LINES, OWN_LINES = 6, 3, 60  # of the footer, at the most


@dataclass(frozen=True)
class Note:
    """A paragraph of the footer."""

    name: str  # left of it
    text: str
    most: int  # lines


@dataclass(frozen=True)
class Table:
    """What a grid says."""

    columns: int
    title: str
    subtitle: str
    heads: Sequence[Sequence[str]]  # two lines per column, or none
    sides: Sequence[Sequence[str]]  # lines per row, or none
    below: Sequence[Sequence[str]]  # lines per picture
    notes: Sequence[Note]  # the footer


def table_of(known: Facts, footer: str, graph: Graph | None, node_id: str | None) -> Table:
    """What the grid of these pictures says. footer: the user's own, or empty."""
    notes = [Note("", footer, OWN_LINES)] if footer.strip() else footer_notes(known, graph, node_id)
    return swept_table(known, notes) if known.cells else plain_table(known, notes)


def swept_table(known: Facts, notes: Sequence[Note]) -> Table:
    first_row = known.table[0]
    heads = [column_label(known.cells[i].value, known.beta(i), known.scheduled) for i in first_row]
    if not any(known.beta(i) for i in first_row):
        heads = [(above, "") for above, _ in heads]
    sides = [row_label(known.cells[i], known.varies, known.seed, known.prompts) for i in known.table[:, 0]]
    varies = [name for name in ("cfg", "eta", "prompt", "seed", "image") if name in known.varies]
    across = "λ"
    if known.scheduled:
        across = "how much of the λ schedule"
    elif len(known.anchors) == 1:
        across = "λ and β/λ" if known.anchors[0].get("beta") else "λ, the strength"
    down = f"  ·  down: {', '.join(varies).replace('eta', 'η')}" if varies else ""
    title, subtitle = _title("λ sweep", known), _subtitle(known, f"across: {across}{down}")
    below = [[*kl_parts(known, i), *score_parts(known, i)] for i in range(known.count)]
    return Table(known.columns, title, subtitle, heads, sides if any(sides) else [], below, notes)


def plain_table(known: Facts, notes: Sequence[Note]) -> Table:
    """Pictures without a sweep: in one row, from six on in a table that is wider than high."""
    columns = known.count if known.count < 6 else math.ceil(math.sqrt(known.count))
    below = []
    for i in range(known.count):
        strength = " · ".join(strength_parts(known, i))
        parts = (strength, *kl_parts(known, i), *score_parts(known, i))
        below.append([*filter(None, parts)] or [f"image {i + 1}"])
    title = _title(f"{known.count} pictures" if known.count > 1 else "1 picture", known)
    subtitle = _subtitle(known, "the λ sweep that is connected did not run" if known.unused_sweep else "")
    return Table(columns, title, subtitle, heads=[], sides=[], below=below, notes=notes)


def footer_notes(known: Facts, graph: Graph | None, node_id: str | None) -> list[Note]:
    """Prompt, models, anchors, reward and settings, as far as they are known from the graph and the trace."""
    anchors = {str(anchor.get("name")) for anchor in known.anchors}
    said = {
        "Prompt": prompts_label(known) if known.prompts else _prompt(graph, node_id),
        "Negative": prompt_text(graph, node_id, "negative"),
        "Models": " · ".join(name for name in model_files(graph, node_id) if name not in anchors),
        "Anchor" if len(known.anchors) == 1 else "Anchors": " · ".join(anchor_label(one) for one in known.anchors),
        "Reward" if known.tilted else "Particles": reward_label(known),
        "Sampling": settings_label(known),
    }
    notes = [
        Note(name, text.replace("\n", " "), PROMPT_LINES if name == "Prompt" else OTHER_LINES)
        for name, text in said.items()
        if text
    ]
    if any(LEFT_OUT in drawable(note.text) for note in notes):
        notes.append(Note(LEFT_OUT, "characters that the labels' font does not have", OTHER_LINES))
    return notes


def _prompt(graph: Graph | None, node_id: str | None) -> str:
    return prompt_text(graph, node_id) or prompt_text(graph, node_id, "conditioning")


def _subtitle(known: Facts, first: str) -> str:
    masked = "λ acts where the λ mask is" if known.any_masked else ""
    kl = "KL to the reference in nats" + WITHOUT_REWARD * known.tilted if known.measured else ""
    return "  ·  ".join(part for part in (first, masked, kl) if part)


def _title(what: str, known: Facts) -> str:
    names = " + ".join(str(anchor.get("name")) for anchor in known.anchors)
    return f"{what} · {names}" if names else what
