"""Outputs never lie over what is read, and only regular files are written."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import run_step, write_tiny_log
from made_logs import made_log

from prompt_oirl.cli.main import main
from prompt_oirl.cli.output import write_rows
from prompt_oirl.data.prompts import PUBLISHED
from prompt_oirl.io.files import InputError, never_written, write_csv, write_text
from prompt_oirl.io.manifest import named_files


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "through a folder"])
def test_a_report_never_replaces_the_log_it_is_about(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, out = tmp_path / "own.csv", tmp_path / "page.html"
    made_log(30).to_csv(log, index=False)
    before = log.read_bytes()
    if way == "itself":
        out = log
    elif way == "link":
        out.symlink_to(log)
    elif way == "hard link":
        out.hardlink_to(log)
    else:
        (tmp_path / "folder").mkdir()
        out = tmp_path / "folder" / ".." / "own.csv"
    with pytest.raises(SystemExit, match="1"):
        main(["report", str(log), "--embedder", "tfidf", "--out", str(out)])
    assert "is one of the files to read" in capsys.readouterr().err and log.read_bytes() == before


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "file.txt", tmp_path / "link"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("one", "two"):
        write_text(link, text)
        assert link.is_symlink() and target.read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link to a device"])
def test_what_is_no_regular_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "folder":
        out.mkdir()
    elif kind == "device":
        out = Path("/dev/full")
    else:
        out.symlink_to("/dev/full")
    with pytest.raises(InputError, match="not a regular file"):
        write_text(out, "text")
    assert not out.is_file()


def test_a_step_never_writes_over_a_file_that_a_flag_names(tmp_path: Path) -> None:
    """Step 2 would write its names.csv where the prompts lie that it is told to read."""
    write_tiny_log(tmp_path)
    run_step(2, tmp_path)
    folder = tmp_path / "llama_exps" / "LMtiny"
    written = next(folder.glob("*.csv"))
    prompts = written.with_name("prompts-of-mine.csv")
    prompts.write_bytes(PUBLISHED.read_bytes())
    for link in (True, False):
        written.unlink()
        if link:
            written.symlink_to(prompts)
        else:
            written.hardlink_to(prompts)
        done = run_step(2, tmp_path, "--prompts", str(prompts), check=False)
        assert done.returncode == 1 and "is one of the files to read" in done.stderr, done.stderr
        assert prompts.read_bytes() == PUBLISHED.read_bytes()


def test_fit_does_not_save_over_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "selector"
    folder.mkdir()
    log = folder / "selector.json"
    made_log(20).to_json(log, orient="records")
    before = log.read_bytes()
    with pytest.raises(SystemExit, match="1"):
        main(["fit", str(log), "--embedder", "tfidf", "--out", str(folder)])
    assert "is one of the files to read" in capsys.readouterr().err and log.read_bytes() == before
    write_text(log, "afterwards it may be written")


def test_what_flags_name_is_read_and_what_out_names_is_not() -> None:
    @dataclass
    class Inner:
        known: tuple[Path, ...] = (Path("a"), Path("b"))

    @dataclass
    class Flags:
        questions: Path = Path("q")
        llm: str | None = "m"
        out: Path = Path("o")
        seed: int = 3
        inner: Inner = field(default_factory=Inner)

    assert [str(path) for path in named_files(Flags())] == ["q", "m", "a", "b"]
    with never_written([Path("x" * 5000), Path("\0")]):
        pass


def test_a_lone_carriage_return_does_not_end_a_row(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = [{"question": "a\rb", "prompt": "\r", "n": 1.5}, {"question": "c\nd", "prompt": "", "n": None}]
    expected = [["question", "prompt", "n"], ["a\rb", "\r", "1.5"], ["c\nd", "", ""]]
    write_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == expected
    write_rows(rows, "csv")
    written = capfdbinary.readouterr().out
    assert list(csv.reader(io.StringIO(written.decode(), newline=""))) == expected
    assert written == (tmp_path / "table.csv").read_bytes() and b"\r\n" not in written
