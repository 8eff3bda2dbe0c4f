"""The seam between a study and who makes its pictures. All values here can be pickled and sent to another machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


@dataclass(frozen=True)
class Wanted:
    """What a node shows as text, and how it is read: a run's trace (answers.Traced), or a number."""

    node: str
    kind: Literal["trace", "number"]


@dataclass(frozen=True)
class Task:
    """One graph for one host, and what is wanted of it."""

    key: str  # of its row
    graph: dict[str, Any]  # API format
    picture: str | None = None  # the node whose one picture is wanted
    wanted: Mapping[str, Wanted] = field(default_factory=dict)  # by name
    uploads: Mapping[str, bytes] = field(default_factory=dict)  # PNG files that the graph loads from the temp folder
    # The same one thing of `wanted` at a time, with the files that are there: for where the whole fails.
    parts: tuple[Task, ...] = ()

    @cached_property
    def models(self) -> frozenset[tuple[str, str]]:
        """The model files that the graph names, with what loads them: whoever made another such row has them loaded."""
        return frozenset(
            (node["class_type"], value)
            for node in self.graph.values()
            for value in node["inputs"].values()
            if isinstance(value, str) and value.lower().endswith(MODEL_FILES)
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a task: read and checked already, whoever answered."""

    key: str
    worker: str
    host: str = ""  # version and device of the ComfyUI
    seconds: float = 0.0  # as the host measured it
    picture: bytes | None = None  # a PNG file that opens
    told: Mapping[str, Any] = field(default_factory=dict)  # by the names of `Task.wanted`
    error: str = ""  # a sentence; "": it worked
    errors: Mapping[str, str] = field(default_factory=dict)  # of a task with parts: by the names of what was not told


class Backend(Protocol):
    """Whoever turns tasks into outcomes: any number of runs, one after the other, and `close` after the last."""

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome, None, None]:
        """An outcome for each task, in any order, each once.

        tasks: pulled as workers get free, so that 100,000 need no room. An outcome with an error is a row that cannot
        be made; a worker that dies, hangs or answers nonsense is the back end's own to deal with, and its task goes to
        another. Raises HostTrouble, in a sentence, where no worker is left. Closing the generator ends all work, what
        is running on hosts included; hosts that were started stay for the next run, with the models that they have.
        """
        ...

    def close(self) -> None:
        """End what was started. Without a run nothing was."""
        ...
