"""Ends that several workflows share: from the sampled latent to the pictures."""

from __future__ import annotations

from tools.workflows.workflow_graph import Graph
from tools.workflows.workflow_layout import Box

Source = tuple[int, int]  # a node's id and one of its outputs


def finish(graph: Graph, sampler: int, vae: Source, prefix: str, view: int = 0) -> Box:
    """Decode, enlarge for viewing where the pictures are small, save, and show the trace."""
    decoded = graph.add("VAEDecode", folded=True, samples=(sampler, 0), vae=vae)
    nodes = [decoded]
    if view:
        scale = dict(upscale_method="lanczos", width=view, height=view, crop="disabled")
        nodes.append(graph.add("ImageScale", title="Enlarge to look at", folded=True, image=(decoded, 0), **scale))
    nodes.append(graph.add("SaveImage", images=(nodes[-1], 0), filename_prefix=prefix))
    nodes.append(graph.add("PreviewAny", title="Trace: λ, σ, KL, model calls", source=(sampler, 2)))
    return graph.box("Picture", nodes)


class Sweep:
    """What a sweep gave: the latent and the VAE to decode it, the sweep itself, and the trace."""

    def __init__(self, graph: Graph, latent: Source, vae: Source, sweep: Source, trace: Source):
        self.graph, self.facts = graph, dict(sweep=sweep, trace=trace)
        self.decoded = graph.add("VAEDecode", folded=True, samples=latent, vae=vae)
        self.facts |= dict(images=(self.decoded, 0))

    def compare(self, *before: int) -> Box:
        """To look at and choose from, below other nodes."""
        return self.graph.box("Look, choose and keep", [*before, self.graph.add("RealignCompare", **self.facts)])

    def keep(self, prefix: str) -> Box:
        """All in one picture, shown and saved."""
        grid = self.graph.add("RealignGrid", **self.facts)
        saved = self.graph.add(
            "SaveImage", title="Save the grid", folded=True, images=(grid, 0), filename_prefix=prefix
        )
        return self.graph.box("All λ in one picture", [grid, saved])
