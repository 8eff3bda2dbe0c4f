"""The demo models: what they learn from, and how."""
