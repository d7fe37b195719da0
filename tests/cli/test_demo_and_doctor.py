"""`prompt-oirl demo` and `doctor`: what a new user meets first."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pytest
from test_cli import done, run

from prompt_oirl import examples
from prompt_oirl.cli import demo, doctor
from prompt_oirl.features import minilm_files
from prompt_oirl.io.files import InputError


@pytest.fixture
def short_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped log, cut short: the whole one takes a minute."""
    path = tmp_path / "short.csv.gz"
    lines = gzip.decompress(examples.LOG.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:61])))
    monkeypatch.setattr(examples, "LOG", path)


@pytest.mark.usefixtures("short_log")
def test_demo_shows_what_it_runs_and_leaves_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--out", "my demo", "--embedder", "tfidf")
    assert result.status == 0, result.stderr
    typed = [line[2:] for line in result.stdout.splitlines() if line.startswith("$ ")]
    assert [shlex.split(line)[1] for line in typed] == [
        *("diagnose", "fit", "select", "evaluate", "report"),
        "diagnose",
    ]
    folder = Path("my demo")
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    again = done(*shlex.split(typed[2])[1:])  # what was shown can be typed
    assert again in result.stdout and len(again.splitlines()) == demo.NEW + 1
    assert folder.joinpath("log.csv").read_bytes() == gzip.decompress(examples.LOG.read_bytes())


def test_demo_overwrites_nothing_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TOUR", ())
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.txt").write_text("my own")
    refused = run("demo", "--out", str(mine), "--embedder", "tfidf")
    assert refused.status == 1 and "holds other files" in refused.stderr
    assert [path.name for path in mine.iterdir()] == ["README.txt"]
    assert "is a file" in run("demo", "--out", str(mine / "README.txt")).stderr
    (mine / "README.txt").unlink()
    for _ in range(2):  # an empty folder, and one of the tour's own
        assert run("demo", "--out", str(mine), "--embedder", "tfidf").status == 0


def test_demo_without_minilm_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise InputError("there is no network")

    monkeypatch.setattr(minilm_files, "minilm_folder", missing)
    monkeypatch.setattr(demo, "TOUR", (("Nothing.", "diagnose --help"),))
    result = run("demo", "--out", str(tmp_path / "demo"))
    assert "--embedder tfidf, because there is no network" in result.stderr
    assert "$ prompt-oirl diagnose --help --embedder tfidf" in result.stdout


def test_doctor_is_content_here_and_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPT_OIRL_SIGNING_KEY", "a secret that nobody may see")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@host/v1")
    monkeypatch.setenv("HF_HOME", "/some/where")
    text, lines = done("doctor"), done("doctor", "--format", "jsonl")
    assert "secret" not in text + lines and "signing of selectors: the key is set" in text
    found = {row["what"]: row["found"] for row in map(json.loads, lines.splitlines())}
    assert found["variable HF_HOME"] == "/some/where" and "serve" in found["extras"].split(", ")
    assert all(f"{what}: {text_}" in text for what, text_ in found.items())


def test_doctor_names_what_core_lacks_and_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [
        "numpy<1",
        "no-such-package>=2",
        "pandas",
        'windows-only; sys_platform == "nowhere"',
        'nothing-here; extra == "fancy"',
        'prompt-oirl[fancy]; extra == "all"',
        'pandas; extra == "plain"',
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needs)
    result = run("doctor")
    assert result.status == 1
    assert (
        "pip install 'numpy<1'; no-such-package is missing: pip install 'no-such-package>=2'\n"
        in result.stderr
    )
    assert doctor._extras(["plain", "fancy", "all"]) == {
        "extras": "plain",
        "extras not installed": "fancy, all: pip install 'prompt-oirl[NAME]'",
    }
