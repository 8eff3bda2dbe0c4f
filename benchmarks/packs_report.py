"""What packs.py found, in words: versions, verdicts, and the page, which is also read again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from packs_graphs import ANCHORS

LONGEST = 400  # characters of an error
KINDS_OF_VERDICTS = ("right", "refused", "wrong", "with an error")
PAGE = """# Beside other packs

`benchmarks/packs.py` has tried the nodes of these packs that patch, guide or sample a MODEL, each pack alone beside
Realign, on small random models. A figure is how far the latent is from the truth, in its standard deviations: two
ComfyUIs without Realign, with one model each, that mix their answers at every step. Up to {right:g} is rounding. Some
nodes compare and cut off and so make much of little: then “rounding” says how far noise of that size moves the truth
itself. What is wrong is **bold**. Each node counts at every place where it can stand, with a full anchor and a LoRA.
[benchmarks/README.md](../benchmarks/README.md) has the command; packs that are tried again replace their own lines.

| pack | version | ComfyUI | verdict |
|---|---|---|---|
{packs}
"""
CELLS = re.compile(r"(?<!\\)\|")  # what divides the cells of a table


class Row(NamedTuple):
    node: str
    place: str
    verdicts: tuple[str, ...]  # one for each of ANCHORS


class Tried(NamedTuple):
    """One pack: its line in the table of packs, and what is said of its nodes."""

    name: str
    version: str
    host: str  # the ComfyUI's version
    verdict: str
    text: str  # of its section; "" without one


def version_of(pack: Path) -> str:
    """Its own, and the commit of its repository where there is one."""
    told = re.search(r'^version\s*=\s*"([^"]+)"', _text(pack / "pyproject.toml"), re.MULTILINE)
    git = ["git", "-C", str(pack), "log", "-1", "--format=%h, %cs"] if (pack / ".git").exists() else ["true"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return " ".join(filter(None, [told[1] if told else "", f"({commit})" if commit else ""])) or "?"


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def told(error: Exception) -> str:
    """An exception in a cell of the table. A ValueError of one sentence is a refusal."""
    if isinstance(error, KeyError):
        return f"needs {error.args[0]}"
    raised = getattr(error, "raised", "")
    text = sentence(str(error))
    return f"refused: {text}" if raised == "ValueError" else f"{raised or 'error'}: {text}"


def sentence(text: str) -> str:
    """On one line, not too long, and without this machine's folders."""
    text = re.sub(r"\s+", " ", re.sub(r"(/[\w.~-]+){2,}/", "…/", text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def cell(text: str) -> str:
    """For a table in Markdown."""
    return text.replace("|", "\\|")


def summary(rows: list[Row], others: int = 0) -> str:
    """ "7 nodes: 20 right, 2 refused". others: how many nodes have no rows although they can stand somewhere."""
    kinds = [kind_of(verdict) for row in rows for verdict in row.verdicts]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS_OF_VERDICTS if kind in kinds)
    nodes = len({row.node for row in rows})
    if not rows:
        return "nothing that runs on the small models" if others else "no node that patches, guides or samples"
    return f"{nodes} node{'s' * (nodes != 1)}: {counts}"


def kind_of(verdict: str) -> str:
    if verdict.startswith("**"):
        return "wrong"
    if verdict.startswith("refused"):
        return "refused"
    return "right" if re.match(r"[\d.e-]+( \(|$)", verdict) else "with an error"


def reasons(broken: dict[str, str]) -> dict[str, list[str]]:
    """Nodes by the reason for which they were not run."""
    out: dict[str, list[str]] = {}
    for node, why in sorted(broken.items()):
        out.setdefault(why.removeprefix("refused: ").replace(f"{node}: ", ""), []).append(node)
    return out


def section(rows: list[Row], idle: list[str], broken: dict[str, str], late: list[str]) -> str:
    """What is said of a pack's nodes. idle: nodes without effect. broken: node → why. late: nodes not reached."""
    parts = []
    notes: dict[str, int] = {}  # what is said at length → its number
    if rows:
        table = [f"| node | place | {' | '.join(f'{anchor} anchor' for anchor in ANCHORS)} |", "|---" * 4 + "|"]
        for row in rows:
            cells = [row.node, row.place, *(_noted(verdict, notes) for verdict in row.verdicts)]
            table.append(f"| {' | '.join(map(cell, cells))} |")
        parts.append("\n".join(table))
    parts += [f"({number}) {text}" for text, number in notes.items()]
    if idle:
        parts.append(f"Without effect on the small models: {', '.join(sorted(set(idle)))}.")
    for why, nodes in sorted(reasons(broken).items()):
        parts.append(f"Not run, for they fail without Realign, too ({why}): {', '.join(nodes)}.")
    if late:
        parts.append(f"Not reached in the time given: {', '.join(late)}.")
    return "\n\n".join(parts)


def _noted(verdict: str, notes: dict[str, int]) -> str:
    """A verdict, or what kind it is of and the number of its sentence in `notes`."""
    if kind_of(verdict) not in ("refused", "with an error"):
        return verdict
    number = notes.setdefault(verdict.removeprefix("refused: "), len(notes) + 1)
    return f"{kind_of(verdict)} ({number})"


def page(done: dict[str, Tried], right: float) -> str:
    """done: by name. right: up to where a distance is rounding."""
    order = sorted(done.values(), key=lambda one: one.name.lower())
    packs = "\n".join(f"| {one.name} | {one.version} | {one.host} | {cell(one.verdict)} |" for one in order)
    text = PAGE.format(right=right, packs=packs)
    return text + "".join(f"\n## {one.name}\n\n{one.text}\n" for one in order if one.text)


def read(text: str) -> dict[str, Tried]:
    """`page` read again, so that one pack can be tried without the others."""
    head, *sections = text.split("\n## ")
    texts = {name: body.strip("\n") for name, body in (section.split("\n", 1) for section in sections)}
    rows = [[part.strip().replace("\\|", "|") for part in CELLS.split(line)[1:-1]] for line in head.splitlines()]
    found = [row for row in rows if len(row) == 4][2:]  # behind the table's own two lines
    return {name: Tried(name, version, host, verdict, texts.get(name, "")) for name, version, host, verdict in found}
