"""The documentation as a site: what `make docs` makes of pages and docstrings, and what its check finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from check_site import Args, main

from prompt_oirl.io.files import REPO_ROOT, InputError

PAGE = '<h2 id="a">A</h2><p>text</p><a href="b.html#b">b</a><img src="c.png"><a href="https://e.org/x">x</a>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "b.html").write_text('<h2 id="b">B</h2><a href="index.html#a">a</a><a href="#b">here</a>')
    (tmp_path / "c.png").touch()
    return tmp_path


def test_a_site_without_faults_passes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(Args(site))
    assert "2 pages, 4 links, none dead" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("b.html#b", "b.html#c", "links to b.html#c, which has no such heading"),
        ("b.html#b", "#c", "links to #c, which has no such heading"),
        ("b.html#b", "../b.html", "links to ../b.html, which is not there"),
        ("c.png", "d.png", "links to d.png, which is not there"),
        ("c.png", "https://e.org/c.png", "loads https://e.org/c.png"),
        ("text", "text\n- item", "shows Markdown as text: '- item'"),
    ],
)
def test_a_fault_is_found(
    site: Path, before: str, after: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "index.html").write_text(PAGE.replace(before, after))
    with pytest.raises(InputError, match="faults in the pages: 1$"):
        main(Args(site))
    assert f"index.html: {problem}" in capsys.readouterr().out


def test_the_menu_has_every_page_in_the_reading_order() -> None:
    menu = (REPO_ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"(\w+\.md)$", menu, re.M)
    order = re.findall(r"\((\w+\.md)\)", (REPO_ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert [page for page in listed if page in order] == order
    pages = {path.name for path in (REPO_ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(listed)


def test_links_and_docstrings_become_those_of_the_site() -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    from docs_site import as_markdown, on_page_markdown
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

    config, files = MkDocsConfig(), Files([])
    config.load_dict({"site_name": "site", "docs_dir": str(REPO_ROOT / "docs")})
    config.validate()
    config.plugins._current_plugin = "docs_site"  # as while mkdocs calls a hook
    page = Page(None, File.generated(config, "own_logs.md", content=""), config)
    text = (
        "[a](../README.md#b) [c](import.md) [files.py](../prompt_oirl/io/files.py) [it](../pyproject.toml)\n"
        "![d](../results/reference/gains.png) [e](https://e.org)\n```python\nf[0](../x.py)\n```\n"
    )
    assert on_page_markdown(text, page=page, config=config, files=files) == (
        "[a](index.md#b) [c](import.md) files.py it (`pyproject.toml`)\n"
        "![d](results/reference/gains.png) [e](https://e.org)\n```python\nf[0](../x.py)\n```\n"
    )
    assert [file.src_uri for file in files] == ["results/reference/gains.png"]
    docstring = "Do it.\n\nParameters\n----------\na, b : texts\n    and more\n\nReturns: a number."
    listed = "Do it.\n\n**Parameters**\n\n- `a, b`: texts\n    and more\n\n**Returns** a number."
    assert as_markdown(docstring) == listed
