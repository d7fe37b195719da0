"""Results are out of date when code that decides them changes, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_oirl.io import manifest
from prompt_oirl.io.files import write_csv

SOURCES = {
    "__init__.py": "",
    "steps/__init__.py": "",
    "steps/fit.py": "def fit():\n    from prompt_oirl.stats import metrics\n    return metrics.mean\n",
    "stats/__init__.py": "",
    "stats/metrics.py": "import prompt_oirl.stats.cells as cells\nmean = cells.mean\n",
    "stats/cells.py": "mean = 1\n",
    "opro/__init__.py": "",
    "opro/loop.py": "from prompt_oirl.steps import fit\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package of this name, whose step needs `metrics` inside a function and `cells` through it."""
    folder = tmp_path / "prompt_oirl"
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(manifest, "PACKAGE", folder)
    return folder


def version_after_change(package: Path, name: str) -> str:
    with (package / name).open("a") as file:
        file.write("# changed\n")
    return version()


def version() -> str:
    manifest._version_of.cache_clear()
    manifest.package_code_version.cache_clear()
    return manifest.code_version("prompt_oirl.steps.fit")


@pytest.mark.parametrize("name", ["steps/fit.py", "stats/metrics.py", "stats/cells.py", "stats/__init__.py"])
def test_an_imported_module_that_changes_changes_the_version(package: Path, name: str) -> None:
    before = version()
    assert version_after_change(package, name) != before


@pytest.mark.parametrize("name", ["opro/loop.py", "opro/__init__.py"])
def test_a_module_that_is_not_imported_does_not_change_the_version(package: Path, name: str) -> None:
    before = version()
    assert version_after_change(package, name) == before


def test_the_whole_package_changes_with_any_module(package: Path) -> None:
    version()
    before = manifest.package_code_version()
    version_after_change(package, "opro/loop.py")
    assert manifest.package_code_version() != before


def test_a_script_that_imports_nothing_of_the_package_counts_as_needing_all(package: Path) -> None:
    version()
    assert manifest.code_version() == manifest.package_code_version()


def test_a_table_takes_its_header_from_the_first_row(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"b": 1, "a": 0.5}, {"a": 2}]
    write_csv(tmp_path / "table.csv", iter(rows))
    assert (tmp_path / "table.csv").read_text() == "b,a\n1,0.5\n,2\n"


def test_a_table_without_rows_needs_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        write_csv(tmp_path / "table.csv", [])
    write_csv(tmp_path / "table.csv", [], ["a"])
    assert (tmp_path / "table.csv").read_text() == "a\n"
