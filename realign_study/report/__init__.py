"""A study's report: `report.html` in its folder, and its numbers as CSV in `report/`. Needs the extra `report`.

statistics.py   the bootstrap, curves and the best λ, on arrays        findings.py   the same of a study's table
failures.py     what failed, and why                                   pictures.py   which pictures are shown
drawing.py      plots, as SVG                                          csv_files.py  the numbers, as CSV
page.py         the page (page.html, a template that escapes whatever is put in)

A report only reads the study, and can be made while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import FolderError
from ..parts import whole
from ..results import Folder, said
from ..rows import Study
from .csv_files import csv_files
from .failures import failures
from .findings import find
from .page import page
from .pictures import chosen, sheets

NAME = "report.html"
OURS = b'<meta name="generator" content="realign report">'  # in page.html


def write_report(study: Study, folder: Folder, budgets: Sequence[float] = (), prompts: Sequence[int] = ()) -> Path:
    """budgets: of KL, nats; none: round ones. prompts: whose pictures are shown, from 1; none: some.

    Raises PlanError for a prompt that is not there, FolderError where it cannot be written or another file has its
    name."""
    shown, file = chosen(study, prompts), folder.path / NAME
    with said(folder.path):
        if file.exists() and OURS not in file.read_bytes():
            raise FolderError(f"{file} is no report of a study: rename it, or name another folder by --out.")
        table = folder.table(study)
        findings = find(study, table, budgets)
        failed = failures(study, folder, table)
        text = page(study, table, findings, failed, sheets(study, table, findings.groups, shown))
        (folder.path / "report").mkdir(exist_ok=True)
        for name, content in csv_files(table, findings, failed).items():
            with whole(folder.path / "report" / name) as temporary:
                temporary.write_bytes(content)
        with whole(file) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    return file
