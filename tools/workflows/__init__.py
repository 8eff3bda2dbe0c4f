"""The shared workflow files, the blueprint and their thumbnails."""
