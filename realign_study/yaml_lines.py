"""YAML as plain values, with the line on which each of them stands."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import yaml

from .errors import PlanError
from .texts import joined

Place = tuple[str | int, ...]


class Document:
    """A YAML document: `value`, and `line(place)` of what stands at keys and indices from its top."""

    def __init__(self, text: str, name: str):
        """Raises PlanError, with the line, for what is no YAML and for a key that is there twice."""
        self.name = name
        try:
            root = yaml.compose(text, Loader=_Loader)
            self.value: Any = yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{name}, line {mark.line + 1}" if mark else name
            raise PlanError(f"{where}: {error.problem or 'this is not YAML'}.") from None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise PlanError(f"{name} is not YAML: {str(error).splitlines()[0]}.") from None
        self._root = root

    def line(self, place: Sequence[str | int]) -> int:
        """From 1. Of the nearest thing that is there, where the place itself is not."""
        node, line = self._root, 1
        for part in place:
            found = _inside(node, part)
            if found is None:
                break
            node, line = found
        return line

    def wrong(self, place: Sequence[str | int], sentence: str) -> PlanError:
        return PlanError(f"{self.name}, line {self.line(place)}: {sentence}")


def _inside(node: Any, part: str | int) -> tuple[Any, int] | None:
    """The node at a key or an index, and the line of the key or the item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item, item.start_mark.line + 1
    return None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """The safe loader, which also refuses a key that is no word, one that stands twice, as the first value would be
    dropped in silence, and half a letter."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("before a colon stands one word or number; a text with braces or brackets is quoted", key)
            if key.value in seen:
                raise _wrong(f"“{key.value}” stands here a second time", key)
            seen.add(key.value)
        built: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return built

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        try:
            return joined(super().construct_scalar(node))
        except PlanError as error:
            raise _wrong(str(error).rstrip("."), node) from None


def _wrong(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


# A colon in a text and words such as “on” and “off” are what they look like; only true and false are switches.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not (tag.endswith(":bool") and first.lower() in "oyn")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
