"""The rooms of the house, read from their imports: who knows whom. AGENTS.md has the map.

All imports count, those under TYPE_CHECKING and inside functions too: a reader has to know whatever a file names.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import networkx
import pytest

PACK = Path(__file__).resolve().parents[2]
MOST_LINES = 350
FOLDERS = ("nodes", "realign_core", "realign_study", "tools")
NO_NODES = (
    "__init__",
    "checked",
    "live",
    "inputs",
    "page",
    "sampled",
    "searched",
    "types",
)  # of the files at the top of nodes/

WORK = {"run", "models", "types", "realign_core"}
BESIDE = {"checked", "live", "inputs", "page", "sampled", "searched"}
MAY_KNOW = {
    "realign_core": {"realign_core"},
    "realign_study": {"realign_study", "realign_core"},  # neither the nodes nor a host
    "types": {"realign_core"},
    "models": {"models", "types", "realign_core"},
    "pictures": {"pictures", "realign_core"},
    "reward": {"reward", "models", "types", "realign_core"},
    "run": WORK,
    "checked": WORK | {"reward"},
    "page": BESIDE | WORK,
    "inputs": BESIDE | WORK,
    "live": BESIDE | WORK | {"pictures"},
    "sampled": BESIDE | WORK,
    "searched": BESIDE | WORK | {"pictures", "reward"},  # λ Search's rounds, which it and its measurement ask
    "node file": BESIDE | WORK | {"pictures", "reward", "node file"},
    "__init__": {"node file", "types", "realign_core"},  # of nodes/, which joins the node files
    "tools": BESIDE | WORK | {"pictures", "reward", "node file", "__init__", "tools"},
}
LIBRARIES = {"torch", "einops"}  # all that realign_core may import, besides the standard library


def room(file: str) -> str:
    """Of a path from the pack's root. A node file is one that lies at the top of nodes/ and is none of the others."""
    folder, *below = file.removesuffix(".py").split("/")
    if folder != "nodes":
        return folder
    return below[0] if len(below) > 1 or below[0] in NO_NODES else "node file"


def sources(root: Path, *folders: str) -> list[str]:
    return [path.relative_to(root).as_posix() for folder in folders for path in sorted((root / folder).rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[tuple[int, list[str], list[str]]]:
    """Every import anywhere in a file: how many dots, the module's parts, the names taken from it."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name.split("."), []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            found.append((node.level, module, [alias.name for alias in node.names]))
    return found


def places(root: Path, file: str, dots: int, module: list[str]) -> list[Path]:
    """Where a module of the pack would lie, without its ending. `import nodes` means the host's module of that name."""
    here = (root / file).parent
    if dots:
        return [[here, *here.parents][dots - 1].joinpath(*module)]
    if module[0] == "realign":  # the pack, as a host names it
        return [root.joinpath(*module[1:])]
    if module[0] in ("realign_core", "realign_study", "tools"):
        return [root.joinpath(*module)]
    return [here.joinpath(*module)] if file.startswith("tools/") else []  # a script finds what lies beside it


def source_of(place: Path) -> set[Path]:
    return {path for path in (place.with_name(f"{place.name}.py"), place / "__init__.py") if path.is_file()}


def known(root: Path, file: str) -> set[str]:
    """The pack's files that a file imports."""
    found: set[Path] = set()
    for dots, module, names in imports(root / file):
        for place in places(root, file, dots, module):
            submodules = [source_of(place / name) for name in names]
            found |= set().union(*submodules)
            if not names or not all(submodules):  # the module itself, or something in it
                found |= source_of(place)
    return {path.relative_to(root).as_posix() for path in found} - {file}


def graph(root: Path, *folders: str) -> networkx.DiGraph:
    return networkx.DiGraph([(file, other) for file in sources(root, *folders) for other in sorted(known(root, file))])


def circles(root: Path, folder: str) -> list[str]:
    inside = graph(root, folder).subgraph(sources(root, folder))
    tangles = [sorted(files) for files in networkx.strongly_connected_components(inside) if len(files) > 1]
    rings = [networkx.find_cycle(inside.subgraph(files)) for files in tangles]
    return [
        f"{' → '.join([ring[0][0], *(to for _, to in ring)])}, among {', '.join(f)}" for ring, f in zip(rings, tangles)
    ]


def arrows_back(root: Path) -> list[str]:
    arrows = [(a, b, room(a), room(b)) for a, b in sorted(graph(root, *FOLDERS).edges)]
    return [f"{a} → {b}: {knows} must not know {of}" for a, b, knows, of in arrows if of not in MAY_KNOW.get(knows, ())]


def foreign(root: Path) -> list[str]:
    """What realign_core imports that is neither its own, nor the standard library, nor one of LIBRARIES."""
    allowed = LIBRARIES | sys.stdlib_module_names | {"realign_core"}
    found = [
        (file, module) for file in sources(root, "realign_core") for dots, module, _ in imports(root / file) if not dots
    ]
    return [f"{file} → {'.'.join(module)}" for file, module in found if module[0] not in allowed]


def not_ending_with_nodes(root: Path) -> list[str]:
    """Node files of which the last statement is not NODES = …"""
    out = []
    for file in sources(root, "nodes"):
        last = (parsed(root / file).body or [None])[-1]
        target = last.targets[0] if isinstance(last, ast.Assign) else getattr(last, "target", None)
        if room(file) == "node file" and getattr(target, "id", None) != "NODES":
            out.append(file)
    return out


def too_long(root: Path) -> list[str]:
    lines = {
        file: len((root / file).read_text(encoding="utf-8").splitlines())
        for file in sources(root, *FOLDERS, "benchmarks")
    }
    return [f"{file}: {count} lines" for file, count in lines.items() if count > MOST_LINES]


def none(found: list[str]) -> bool:
    """Whether it is empty; all of it is shown where it is not."""
    if found:
        pytest.fail("\n".join(found), pytrace=False)
    return True


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_know_each_other_in_no_circle(folder):
    assert none(circles(PACK, folder))


def test_rooms_know_only_what_lies_below_them():
    assert none(arrows_back(PACK))


def test_the_core_knows_no_host():
    assert none(foreign(PACK))


def test_every_node_file_ends_with_its_nodes():
    assert none(not_ending_with_nodes(PACK))


def test_no_file_is_too_long_to_read_in_a_sitting():
    assert none(too_long(PACK))


# The checker itself: what it must find, planted.


def planted(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


HIDDEN = {
    "plain": "from .{} import x",
    "of a type": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .{} import x",
    "in a function": "def f():\n    from . import {}",
    "by the pack's name": "import realign.nodes.run.{}",
}


@pytest.mark.parametrize("way", HIDDEN.values(), ids=HIDDEN)
def test_a_circle_is_found_however_it_is_imported(tmp_path, way):
    root = planted(
        tmp_path, nodes__run__a=way.format("b"), nodes__run__b="from .c import x", nodes__run__c=way.format("a")
    )
    planted(root, nodes__run__d="from . import a")  # knows them, but is not in it
    (found,) = circles(root, "nodes")
    assert [name for name in "abcd" if f"nodes/run/{name}.py" in found] == ["a", "b", "c"]


def test_a_line_is_no_circle(tmp_path):
    root = planted(
        tmp_path, nodes__run__a="from .b import x", nodes__run__b="from . import c", nodes__run__c="import nodes"
    )
    assert known(root, "nodes/run/a.py") == {"nodes/run/b.py"}
    assert circles(root, "nodes") == []


def test_a_circle_of_tools_is_found(tmp_path):
    root = planted(
        tmp_path,
        tools__a="import b",
        tools__b="def f():\n    from tools.a import x",
        tools__host__c="from tools.b import x",
    )
    (found,) = circles(root, "tools")
    assert "c.py" not in found


FORBIDDEN = {
    "nodes/run/a.py": ["..live", "..page", "..inputs", "..sampler", "..pictures.x", "..reward.x", "...tools.x", ".."],
    "nodes/models/a.py": ["..run.x", "..pictures.x", "..reward.x", "..live", "..sampler"],
    "nodes/pictures/a.py": ["..run.x", "..models.x", "..reward.x", "..types", "..live", "..sampler"],
    "nodes/reward/a.py": ["..run.x", "..pictures.x", "..inputs", "..page", "..live", "..sampler"],
    "nodes/inputs.py": [".sampler", ".pictures.x"],
    "nodes/types.py": [".models.x", ".run.x"],
    "nodes/unknown/a.py": ["..types"],
    "realign_core/a.py": ["..nodes.run.x", "..tools.x"],
    "realign_study/a.py": ["..nodes.run.x", "..tools.x"],
}
ALLOWED = {
    "nodes/sampler.py": [
        ".run.x",
        ".models.x",
        ".pictures.x",
        ".reward.x",
        ".live",
        ".page",
        ".inputs",
        ".types",
        "..realign_core.x",
    ],
    "nodes/live.py": [".run.x", ".pictures.x", ".page"],
    "nodes/run/a.py": ["..models.x", "..types", "...realign_core.x", ".x"],
    "nodes/pictures/a.py": [".x", "...realign_core.x"],
    "nodes/reward/a.py": ["..models.x", "..types", "...realign_core.x", ".x"],
    "realign_study/a.py": [".x", "..realign_core.x"],
}
CASES = [(file, module, way) for way in (FORBIDDEN, ALLOWED) for file, modules in way.items() for module in modules]


@pytest.mark.parametrize(("file", "module", "way"), CASES)
def test_an_arrow_back_is_found_and_no_other(tmp_path, file, module, way):
    rooms = [f"nodes__{name}__x" for name in ("run", "models", "pictures", "reward")]
    rooms += ["realign_core__x", "realign_study__x", "tools__x"]
    tops = (f"nodes__{name}" for name in ("live", "page", "inputs", "types", "sampler"))
    root = planted(tmp_path, **dict.fromkeys([*rooms, *tops], ""))
    (root / "nodes" / "__init__.py").touch()
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"if 0:\n    from {module} import something", encoding="utf-8")
    found = arrows_back(root)
    assert len(found) == (way is FORBIDDEN)
    assert all(arrow.startswith(f"{file} → ") for arrow in found)


def test_a_host_import_in_the_core_is_found(tmp_path):
    root = planted(tmp_path, realign_core__a="import math, torch\nfrom einops import rearrange\nfrom .b import x")
    assert foreign(root) == []
    planted(root, realign_core__b="def f():\n    import comfy.samplers")
    assert foreign(root) == ["realign_core/b.py → comfy.samplers"]


def test_a_node_file_without_nodes_at_its_end_is_found(tmp_path):
    root = planted(
        tmp_path, nodes__a="NODES = []", nodes__b="NODES: list = []", nodes__c="NODES = []\nx = 1", nodes__page="x = 1"
    )
    assert not_ending_with_nodes(root) == ["nodes/c.py"]


def test_a_long_file_is_found(tmp_path):
    root = planted(tmp_path, nodes__a="x = 1\n" * MOST_LINES, benchmarks__b="x = 1\n" * (MOST_LINES + 1))
    assert too_long(root) == ["benchmarks/b.py: 351 lines"]
