"""Ends that several workflows share: from the sampled latent to the pictures."""

from __future__ import annotations

from workflow_graph import Column, Graph

Source = tuple[int, int]  # a node's id and one of its outputs


def finish(graph: Graph, sampler: int, vae: tuple[int, int], x: int, prefix: str, view: int = 0) -> None:
    """Decode, enlarge for viewing where the pictures are small, save, and show the trace."""
    image = (graph.add("VAEDecode", (x, 90), (220, 50), samples=(sampler, 0), vae=vae), 0)
    if view:
        scale = dict(upscale_method="lanczos", width=view, height=view, crop="disabled")
        image = (graph.add("ImageScale", (x, 200), (260, 150), title="Enlarge to look at", image=image, **scale), 0)
    graph.add("SaveImage", (x + 300, 90), (460, 650), images=image, filename_prefix=prefix)
    graph.add("PreviewAny", (x, 410), (260, 330), title="Trace: λ, σ, KL, model calls", source=(sampler, 2))
    graph.group("Picture", (x - 20, 10, 800, 750))


def show_sweep(
    left: Column, latent: Source, vae: Source, sweep: Source, trace: Source, prefix: str
) -> tuple[Column, Column]:
    """Decode a sweep, flip through it, and save its grid: two columns to the right of `left`, as high as that."""
    look = left.beside(430)
    images = compare(look, left.end, latent, vae, sweep, trace)
    keep = look.beside(440)
    grid = (keep.add("RealignGrid", 620, images=images, sweep=sweep, trace=trace), 0)
    keep.add("SaveImage", left.end - keep.y, title="Save the grid", images=grid, filename_prefix=prefix)
    return look, keep


def compare(column: Column, end: int, latent: Source, vae: Source, sweep: Source, trace: Source) -> Source:
    """Decode and flip through, in a column down to `end`. Returns the pictures."""
    images = (column.add("VAEDecode", samples=latent, vae=vae), 0)
    column.add("RealignCompare", end - column.y, images=images, sweep=sweep, trace=trace)
    return images
