"""What λ Compare tells the page of a run, picture by picture."""

from __future__ import annotations

import itertools

WORDS = {
    "cfg": "cfg {:g}",
    "eta": "η {:g}",
    "prompt": "{}",
    "seed": "seed {}",
    "seed+": "seed +{}",
    "image": "image {}",
}


def told_by(output):
    """output: of the node's execute."""
    return output.ui["realign_compare"][0]


def cells_of(told):
    """Each picture's column, row and own numbers as one dict, with `label`, as the page says it."""
    rows = range(len(told["rows"]))
    places = list(itertools.product(rows, range(len(told["columns"]))))
    out = []
    for i, (row, column) in enumerate(places):
        of_row = told["rows"][row]
        scores = told["scores"][i] if told["scores"] else []
        label = [
            told["columns"][column]["name"],
            *(WORDS[kind].format(value) for kind, value in of_row["says"]),
            *scores,
        ]
        numbers = {"row": row, "column": column, "kl": told["kl"][i] if told["kl"] else None, "scores": scores}
        out.append(
            {**told["columns"][column], **of_row, **numbers, "file": told["files"][i], "label": ", ".join(label)}
        )
    return out
