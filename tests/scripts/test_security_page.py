"""Each promise of docs/security.md names tests that exist."""

from __future__ import annotations

import ast
import re

from prompt_oirl.io.files import REPO_ROOT


def test_every_promise_names_a_test_that_exists() -> None:
    page = (REPO_ROOT / "docs" / "security.md").read_text()
    rows = [line for line in page.split("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 8
    for row in rows:
        cells = row.split(" | ")
        named = re.findall(r"`(tests/\S+?)::(\w+)`", cells[-1])
        assert named, row
        for path, name in named:
            tree = ast.parse((REPO_ROOT / path).read_text())
            assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, f"{path}::{name}"
