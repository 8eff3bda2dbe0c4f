"""Nodes of other packs that need more than their defaults to do something: another architecture, inputs, other nodes.

All others are found by their sockets (`packs_graphs.places`).
"""

from __future__ import annotations

from packs_graphs import Case

CASES: tuple[Case, ...] = ()
