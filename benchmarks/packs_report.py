"""What packs.py found, in words: versions, verdicts, and the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

KINDS_OF_VERDICTS = ("right", "refused", "wrong", "with an error")
PAGE = """# Beside other packs

`benchmarks/packs.py` has tried the nodes of these packs that patch, guide or sample a MODEL, on ComfyUI {version}, each
alone beside Realign, on small random models. A figure is how far the latent is from the truth, in its standard
deviations: two ComfyUIs without Realign, with one model each, that mix their answers at every step. Up to {right:g} is
rounding. Some nodes compare and cut off and so make much of little: then “rounding” says how far noise of that size
moves the truth itself. What is wrong is **bold**.

| pack | version | verdict |
|---|---|---|
{packs}
"""


class Row(NamedTuple):
    node: str
    place: str
    verdicts: tuple[str, ...]  # one for each of ANCHORS


class Tried(NamedTuple):
    """One pack: its line in the table of packs, and what is said of its nodes."""

    name: str
    version: str
    verdict: str
    lines: list[str]


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
    text = re.sub(r"\s+", " ", str(error))
    return f"refused: {text}" if raised == "ValueError" else f"{raised or 'error'}: {text}"


def cell(text: str) -> str:
    """For a table in Markdown."""
    return text.replace("|", "\\|")


def summary(rows: list[Row]) -> str:
    """ "7 nodes: 20 right, 2 refused"."""
    kinds = [kind_of(verdict) for row in rows for verdict in row.verdicts]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS_OF_VERDICTS if kind in kinds)
    nodes = len({row.node for row in rows})
    return f"{nodes} node{'s' * (nodes != 1)}: {counts}" if rows else "no node does something on the small models"


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


def page(done: list[Tried], host: str, right: float) -> str:
    """host: the ComfyUI's version. right: up to where a distance is rounding."""
    packs = "\n".join(f"| {one.name} | {one.version} | {cell(one.verdict)} |" for one in done)
    text = PAGE.format(version=host, right=right, packs=packs)
    return text + "".join(f"\n## {one.name}\n\n" + "\n".join(one.lines) + "\n" for one in done if one.lines)
