"""Measure how the code hangs together: packages, layers, circles, imports against the layers, lines of code.

    python scripts/measure_structure.py
    python scripts/measure_structure.py --root OTHER_CHECKOUT --out structure.csv

Reads source files only. Imports inside functions count, imports under `if TYPE_CHECKING` do not. A line of
code is neither blank nor comment nor docstring; the strings that explain flags are docstrings too.
"""

from __future__ import annotations

import ast
import csv
import io
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
import networkx as nx
import tyro

PACKAGE = "prompt_oirl"
FOLDERS = (PACKAGE, "llama_exps", "opro_exps", "alol_exps", "scripts")
NO_CODE = ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")


@dataclass
class Args:
    root: Path = Path(__file__).parents[1]
    """Checkout to measure."""
    out: Path | None = None
    """Also write the table as a CSV."""


def main(args: Args) -> None:
    table = [*import_picture(args.root.resolve()), *line_counts(args.root)]
    for what, value in table:
        print(f"{what:<52}{value:>12}")
    if args.out:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("what", "value"), *table])


def import_picture(root: Path) -> Iterator[tuple[str, str]]:
    """Measure and value, of the library's imports."""
    sys.path.insert(0, str(root))  # so that grimp reads this checkout and not the installed one
    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    modules = nx.DiGraph()
    modules.add_nodes_from(graph.modules)
    modules.add_edges_from((m, n) for m in graph.modules for n in graph.find_modules_directly_imported_by(m))
    # What an import of the library's root stands for (its version) ties no package to another.
    names = [m.split(".")[1] for m in modules if m != PACKAGE]
    packages = nx.DiGraph()
    packages.add_nodes_from(names)
    edges = [(a.split(".")[1], b.split(".")[1]) for a, b in modules.edges if PACKAGE not in (a, b)]
    packages.add_edges_from((a, b) for a, b in edges if a != b)
    flat = [p for p in (root / PACKAGE).glob("*.py") if p.stem not in ("__init__", "__main__")]
    yield "packages and modules at the top two levels", str(1 + len(packages))
    yield "modules in all", str(len(modules))
    longest = nx.dag_longest_path_length(nx.condensation(packages))
    yield "layers (longest import chain among them)", str(1 + longest)
    yield "circles among packages", str(circles(packages))
    yield "circles among modules", str(circles(modules))
    yield "upward imports", upward_imports(root, edges)
    yield f"modules directly in {PACKAGE}/", str(len(flat))


def circles(graph: nx.DiGraph) -> int:
    """Strongly connected components of more than one node."""
    return sum(len(component) > 1 for component in nx.strongly_connected_components(graph))


def upward_imports(root: Path, edges: list[tuple[str, str]]) -> str:
    """Imports of modules from a package on a higher layer of pyproject.toml's contract."""
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = tools.get("importlinter", {}).get("contracts", [])
    layers = next((c["layers"] for c in contracts if c["type"] == "layers"), None)
    if layers is None:
        return "no contract"
    height = {name.strip(): -i for i, line in enumerate(layers) for name in line.replace("|", ":").split(":")}
    return str(sum(height[b] > height[a] for a, b in edges if a in height and b in height))


def line_counts(root: Path) -> Iterator[tuple[str, str]]:
    """Lines of library, step scripts and scripts, without and with docstrings."""
    code = documented = 0
    for folder in FOLDERS:
        files = sorted((root / folder).rglob("*.py"))
        counts = [count_lines(path.read_text(encoding="utf-8")) for path in files]
        of_folder, with_docstrings = (sum(column) for column in zip(*counts))
        yield f"lines of code in {folder}/", f"{of_folder:,}"
        code, documented = code + of_folder, documented + with_docstrings
    yield "lines of code", f"{code:,}"
    yield "lines of code and docstrings", f"{documented:,}"


def count_lines(source: str) -> tuple[int, int]:
    """Lines that hold code, and lines that hold code or docstring; blank lines and comments never count."""
    held: set[int] = set()
    docstrings: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] not in NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held -= {number for number, line in enumerate(source.split("\n"), 1) if not line.strip()}
    return len(held - docstrings), len(held)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
