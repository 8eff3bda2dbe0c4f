"""A line of text on a node in the page, while it runs."""

from __future__ import annotations

from server import PromptServer


def show_text(node_id: str | None, text: str) -> None:
    """Show `text` on the node. Without a page (tests, scripts) nothing happens."""
    server = getattr(PromptServer, "instance", None)
    if node_id is not None and server is not None:
        server.send_progress_text(text, node_id)
