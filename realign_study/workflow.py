"""A workflow in API format, and the graph of a row: the plan's values filled in, and only what makes the picture."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import PlanError
from .plan import PlanFile
from .slots import Graph, Slots, is_link, title_of, walked
from .texts import read_json

PICTURE, TRACE, ENDS = "realign_picture", "realign_trace", "realign_ends"  # the nodes that are added
# Which output of which node is a run's trace.
TRACES = {"RealignSampler": 2, "RealignParticles": 4, "RealignTrace": 1}
# λ Sweep's widgets for one picture of λ 1.
ONE = {"values": "list", "start": 0.0, "end": 1.0, "count": 1, "listed": "1", "seeds": 1, "rows": "seed"}
ONE |= {"row_values": "", "batch_size": 0, "measure_ends": True}
SAVERS = ("SaveImage", "PreviewImage")


class Workflow:
    """A workflow with the places that a plan fills. Raises PlanError for one that a study cannot use."""

    def __init__(self, plan_file: PlanFile):
        plan = plan_file.plan
        self.text, self.kept_at = text_of(plan_file), kept_at(plan_file)
        self.graph, self.measure_ends = load(plan_file, self.text), plan.measure_ends
        self.older = self.kept_at is not None and shipped(plan.workflow) != self.text  # than the pack's is now
        named = {name: [at] if isinstance(at, str) else list(at) for name, at in plan.inputs.items()}
        try:
            self.slots = Slots(self.graph, named)
        except PlanError as error:
            raise plan_file.wrong(("inputs",), str(error)) from None
        try:
            self.picture = self._picture(plan.outputs.picture)
            self.trace = self._trace(plan.outputs.trace)
        except PlanError as error:
            raise plan_file.wrong(("outputs",), str(error)) from None
        wanted = walked(self.graph, [self.picture, self.trace], lambda _: True)
        self.kept = {node: self.graph[node] for node in self.graph if node in wanted}
        self._one_picture()

    def _picture(self, named: str | None) -> list[Any]:
        """The link that the picture comes by."""
        if named is not None:
            return self._output(named, "images")
        savers = [node for node, content in self.graph.items() if content["class_type"] in SAVERS]
        saved = [node for node in savers if self.graph[node]["class_type"] == "SaveImage"] or savers
        if len(saved) != 1:
            raise PlanError(
                "the workflow is to save one picture, and it has "
                f"{', '.join(title_of(self.graph, node) for node in saved) or 'no Save Image'}: name the node of the "
                "picture as outputs: {picture: id}."
            )
        return self._output(saved[0], "images")

    def _trace(self, named: str | None) -> list[Any] | None:
        if named is not None:
            return self._output(named, "source")
        kinds = {node: content["class_type"] for node, content in self.graph.items()}
        tracing = [node for node, kind in kinds.items() if kind == "RealignTrace"]
        tracing = tracing or [node for node, kind in kinds.items() if kind in TRACES]
        above = walked(self.graph, [self.picture], lambda node: node in tracing)
        found = above if len(tracing) > 1 else tracing
        return [found[0], TRACES[kinds[found[0]]]] if len(found) == 1 else None

    def _output(self, place: str, name: str) -> list[Any]:
        node, dot, output = place.partition(".")
        if node not in self.graph:
            raise PlanError(f"the workflow has no node {node}.")
        if dot:
            if not output.isdecimal():
                raise PlanError(f"“{place}” is no output: write node.number, such as 8.0 for the first output of 8.")
            return [node, int(output)]
        link = self.graph[node]["inputs"].get(name)
        if not is_link(link):
            raise PlanError(f"nothing is connected to “{name}” of node {title_of(self.graph, node)}.")
        return list(link)

    def _one_picture(self) -> None:
        """A row is one picture: batches of empty latents are set to one."""
        self.kept = {
            node: {**content, "inputs": {**content["inputs"], "batch_size": 1}}
            if isinstance(content["inputs"].get("batch_size"), int)
            else content
            for node, content in self.kept.items()
        }

    def takes(self, name: str) -> bool:
        """Whether a value of this name goes anywhere. Raises PlanError where it is not clear, and where it would have
        no effect on the picture."""
        slots = self.slots.of(name)
        idle = [f"{node}.{key}" for node, key in slots if node not in self.kept]
        if idle:
            raise PlanError(f"“{name}” goes to {', '.join(idle)}, which has no part in the picture that is saved.")
        held = [node for node, key in slots if key == "lambda_" and "lambda_schedule" in self.graph[node]["inputs"]]
        if held:
            raise PlanError(
                f"{title_of(self.graph, held[0])} gets its λ from what is connected to lambda_schedule: name under "
                "inputs what is to be λ there, such as the schedule's scale."
            )
        return bool(slots)

    def filled(self, values: Mapping[str, Any]) -> Graph:
        """The nodes that make the picture, with these values by the plan's names; titles are left out."""
        graph = {
            node: {"class_type": content["class_type"], "inputs": dict(content["inputs"])}
            for node, content in self.kept.items()
        }
        for name, value in values.items():
            for node, key in self.slots.of(name):
                graph[node]["inputs"][key] = value
        return graph

    def watched(self, graph: Graph) -> Graph:
        """A filled graph with nodes that give out the picture and the trace."""
        out = dict(graph)
        out[PICTURE] = {"class_type": "PreviewImage", "inputs": {"images": self.picture}}
        if self.measures(graph):
            node = self.slots.sampler()
            assert node is not None
            inputs = graph[node]["inputs"]
            out[ENDS] = {"class_type": "RealignSweep", "inputs": {"latent": inputs["latent_image"], **ONE}}
            swept = {"latent_image": [ENDS, 0], "lambda_schedule": [ENDS, 1]}
            out[node] = {**graph[node], "inputs": {**inputs, **swept}}
        if self.trace is not None:
            out[TRACE] = {"class_type": "PreviewAny", "inputs": {"source": self.trace}}
        return out

    def measures(self, graph: Graph) -> bool:
        """Whether a filled graph is of λ 1, where the reference has no part in the picture and its KL is had only by
        asking it all the same: λ Sweep does, as a sweep of that one λ, whose picture is the same."""
        node = self.slots.sampler()
        if not self.measure_ends or node is None or graph[node]["class_type"] != "RealignSampler":
            return False
        inputs = graph[node]["inputs"]
        taken = "lambda_schedule" in inputs or inputs.get("fewer_calls", "off") != "off"
        return not taken and inputs["lambda_"] == 1

    def own(self, name: str) -> Any:
        """What the workflow itself has at an input of this name; None where that is not clear."""
        try:
            return self.slots.value(name)
        except PlanError:
            return None

    def number(self, name: str) -> float | None:
        """The same, where it is a number."""
        value = self.own(name)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def size(self) -> tuple[int, int] | None:
        """Width and height of the picture, px, where a node above it says them."""
        for node in walked(self.graph, [self.picture], lambda _: True):
            width, height = (self.graph[node]["inputs"].get(name) for name in ("width", "height"))
            if isinstance(width, int) and isinstance(height, int):
                return width, height
        return None


def shared() -> dict[str, str]:
    """The pack's own workflows that a study can be made on: title → file name."""
    folder = resources.files(__package__) / "workflows"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".json"))
    return {name.removesuffix(".json"): name for name in names}


def shipped(name: str) -> str | None:
    """A workflow of the pack, as this version has it."""
    file = shared().get(name)
    return file and (resources.files(__package__) / "workflows" / file).read_text(encoding="utf-8")


def kept_at(plan_file: PlanFile) -> Path | None:
    """Where a study keeps the workflow of the pack that it began with, as the next version's makes other rows; None for
    a file of the user's, which changes when they change it."""
    name = plan_file.plan.workflow
    return None if Path(name).suffix == ".json" else plan_file.folder / "workflows" / f"{name}.json"


def text_of(plan_file: PlanFile) -> str:
    """The plan's workflow, as it stands in its file: the study's own, where it has begun."""
    name, kept = plan_file.plan.workflow, kept_at(plan_file)
    file = plan_file.near(name) if kept is None else kept
    try:
        if kept is None or kept.exists():
            return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise plan_file.wrong(("workflow",), f"{file} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise plan_file.wrong(("workflow",), f"{file} is not UTF-8: save it as UTF-8.") from None
    text = shipped(name)
    if text is None:
        listed = ", ".join(shared())
        sentence = f"no shared workflow is called “{name}”; there are {listed}; or name a .json."
        raise plan_file.wrong(("workflow",), sentence)
    return text


def load(plan_file: PlanFile, text: str) -> Graph:
    """A workflow's text, checked for its form."""
    try:
        return checked(read_json(text))
    except PlanError as error:
        raise plan_file.wrong(("workflow",), f"{plan_file.plan.workflow}: {error}") from None


def checked(content: Any) -> Graph:
    """Raises PlanError where it is no graph in API format."""
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise PlanError("this is the page's own format: save it by Workflow → Export (API), and name that file.")
    if not isinstance(content, dict) or not content:
        raise PlanError("this is no workflow in API format.")
    for node, inside in content.items():
        if not isinstance(inside, dict) or not isinstance(inside.get("class_type"), str):
            raise PlanError(f"node {node} has no class_type: this is no workflow in API format.")
        if not isinstance(inside.get("inputs"), dict):
            raise PlanError(f"node {node} has no inputs: this is no workflow in API format.")
        lost = [value[0] for value in inside["inputs"].values() if is_link(value) and value[0] not in content]
        if lost:
            raise PlanError(f"node {node} is connected to node {lost[0]}, which is not there.")
    return content
