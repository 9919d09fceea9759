"""Who imports whom: the modules of a package and every import in them, those inside functions too."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, Collection[str]]


def modules(package: Path) -> dict[str, Path]:
    """Return dotted name -> file of every module of a package; a folder's `__init__.py` has the folder's name."""
    root = package.parent
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; `from a import b` gives `a.b`, whatever b is."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}:{node.lineno}: an import relative to the file"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def import_graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return module -> modules of the same package that it imports."""
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for target in imported(path):
            found = target if target in known else target.rpartition(".")[0]
            if found in known and found != name:
                graph[name].add(found)
    return graph


def entries(graph: Graph, folder: str) -> dict[str, set[str]]:
    """Return the imports between what lies directly in a folder: its files, and its folders each as a whole."""
    within: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        for target in targets:
            ours, theirs = (_entry(name, folder) for name in (module, target))
            if ours and theirs and ours != theirs:
                within[ours].add(theirs)
    return dict(within)


def _entry(module: str, folder: str) -> str:
    """Return the name of what a module belongs to in a folder; "" if it lies elsewhere."""
    return module.removeprefix(f"{folder}.").partition(".")[0] if module.startswith(f"{folder}.") else ""


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that reach each other, each sorted (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in number:
                visit(target)
            if target in stack:
                lowest[node] = min(lowest[node], lowest[target])
        if lowest[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found
