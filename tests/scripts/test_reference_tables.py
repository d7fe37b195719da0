"""README and docs/ quote the committed tables, all of them and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from prompt_oirl.arith.nano_tables import RENDER as NANO_TABLES
from prompt_oirl.io.files import REPO_ROOT, read_csv
from prompt_oirl.opro.readme_tables import RENDER as OPRO_TABLES
from prompt_oirl.reports.readme import pages, replace_rows, replace_table

REFERENCE = REPO_ROOT / "results" / "reference"
SCRIPT = runpy.run_path(str(REPO_ROOT / "scripts" / "make_reference_tables.py"))


@pytest.mark.parametrize("name", SCRIPT["TABLES"])
def test_quoted_table_is_the_rendered_csv(name: str) -> None:
    rows = read_csv(REFERENCE / f"{name}.csv", hint="run scripts/make_reference_tables.py")
    quoted = "".join(path.read_text(encoding="utf-8") for path in pages(REPO_ROOT))
    _, render = SCRIPT["TABLES"][name]
    assert f"<!-- table: {name} -->\n{render(rows)}<!-- end -->" in quoted


@pytest.mark.parametrize("name", ["voting", "off_policy", "transfer"])
def test_quoted_table_of_a_measuring_script_is_the_rendered_csv(name: str) -> None:
    script = runpy.run_path(str(REPO_ROOT / "scripts" / f"measure_{name}.py"))
    rows = read_csv(REFERENCE / f"{name}.csv", hint=f"run scripts/measure_{name}.py")
    shown = script["render"](rows, "strict") if name == "voting" else script["render"](rows)
    quoted = "".join(path.read_text(encoding="utf-8") for path in pages(REPO_ROOT))
    assert f"<!-- table: {name} -->\n{shown}<!-- end -->" in quoted


def test_measuring_one_log_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    before = read_csv(REFERENCE / "voting.csv", hint="")
    table, key = tmp_path / "voting.csv", ("llm", "dataset", "grader")
    replace_rows(table, before, key)
    assert table.read_bytes() == (REFERENCE / "voting.csv").read_bytes()
    again = [row | {"success": "0.5"} for row in before if row["dataset"] == "mawps"]
    assert {row["grader"] for row in again} == {"strict"} and len(again) < len(before)
    new = [row | {"dataset": "another"} for row in again]
    replace_rows(table, again + new, key)
    kept = [row | {"success": "0.5"} if row["dataset"] == "mawps" else row for row in before]
    assert read_csv(table, hint="") == kept + new


@pytest.mark.parametrize("name", OPRO_TABLES)
def test_quoted_table_on_opro_is_the_rendered_csv(name: str) -> None:
    rows = read_csv(REFERENCE / f"{name}.csv", hint="run scripts/measure_opro.py")
    quoted = "".join(path.read_text(encoding="utf-8") for path in pages(REPO_ROOT))
    assert f"<!-- table: {name} -->\n{OPRO_TABLES[name](rows)}<!-- end -->" in quoted


@pytest.mark.parametrize("name", NANO_TABLES)
def test_quoted_table_on_the_tiny_model_is_the_rendered_csv(name: str) -> None:
    rows = read_csv(REFERENCE / f"{name}.csv", hint="run scripts/measure_nano.py")
    quoted = "".join(path.read_text(encoding="utf-8") for path in pages(REPO_ROOT))
    assert f"<!-- table: {name} -->\n{NANO_TABLES[name](rows)}<!-- end -->" in quoted


@pytest.mark.parametrize("name", [n for n in SCRIPT["TABLES"] if n != "cost"])
def test_every_reference_row_has_n_and_an_interval_around_its_value(name: str) -> None:
    for row in read_csv(REFERENCE / f"{name}.csv", hint="run scripts/make_reference_tables.py"):
        assert int(row["n"]) >= int(row["n_questions"]) >= int(row["n_clusters"]) > 0
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]), row


def test_replace_table_leaves_the_rest_alone(tmp_path: Path) -> None:
    text = "a\n<!-- table: x -->\nold\n<!-- end -->\nb\n<!-- table: y -->\nkept\n<!-- end -->\n"
    expected = text.replace("old\n", "| new |\n")
    assert replace_table(text, "x", "| new |\n") == expected
