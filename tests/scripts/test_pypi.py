"""What PyPI shows: a README whose links work there, and metadata that agree with the other places."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import prompt_oirl

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
readme_for_pypi = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["readme_for_pypi"]
LINK = re.compile(r"\]\(([^)\s]*)\)")


@pytest.mark.parametrize("repository", ["", "https://example.org/owner/name"])
def test_no_link_of_the_readme_leads_into_a_checkout(repository: str) -> None:
    shown = readme_for_pypi(README, repository)
    links = LINK.findall(shown)
    assert all(link.startswith(("https://", "#")) for link in links) and "<!--" not in shown
    assert ("https://example.org/owner/name/blob/main/docs/own_logs.md#files" in links) == bool(repository)
    assert ("https://example.org/owner/name/raw/main/results/reference/gains.png" in links) == bool(
        repository
    )
    assert "see NOTICE for" in shown or repository  # the text of a link stays
    for mark in ("\n|", "```"):  # tables and code are whole
        assert shown.count(mark) == README.count(mark)


def test_metadata_agree_with_the_citation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    head = citation.partition("references:")[0]
    assert re.findall(r"name: (.+)", head) == [author["name"] for author in project["authors"]]
    assert f"\nversion: {project['version']}\n" in head and project["version"] == prompt_oirl.__version__
    assert f"\nlicense: {project['license']}\n" in head
    assert all(url in citation for url in project["urls"].values())
