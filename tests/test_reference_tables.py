"""README quotes the committed tables, all of them and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from prompt_oirl.artifacts import REPO_ROOT, read_csv
from prompt_oirl.reports.readme import replace_table

REFERENCE = REPO_ROOT / "results" / "reference"
SCRIPT = runpy.run_path(str(REPO_ROOT / "scripts" / "make_reference_tables.py"))


@pytest.mark.parametrize("name", SCRIPT["TABLES"])
def test_readme_table_is_the_rendered_csv(name: str) -> None:
    rows = read_csv(REFERENCE / f"{name}.csv", remedy="run scripts/make_reference_tables.py")
    readme = (REPO_ROOT / "README.md").read_text(encoding="utf-8")
    _, _, render = SCRIPT["TABLES"][name]
    assert f"<!-- table: {name} -->\n{render(rows)}<!-- end -->" in readme


@pytest.mark.parametrize("name", [n for n in SCRIPT["TABLES"] if n != "cost"])
def test_every_reference_row_has_n_and_an_interval_around_its_value(name: str) -> None:
    for row in read_csv(REFERENCE / f"{name}.csv", remedy="run scripts/make_reference_tables.py"):
        assert int(row["n"]) >= int(row["n_questions"]) >= int(row["n_clusters"]) > 0
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]), row


def test_replace_table_leaves_the_rest_alone(tmp_path: Path) -> None:
    text = "a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\nkept\n<!-- end -->\n"
    expected = text.replace("old\n", "| new |\n")
    assert replace_table(text, "x", "| new |\n") == expected
