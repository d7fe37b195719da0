"""Outputs never lie over what is read, and only regular files are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_logs import made_log

from prompt_oirl.cli.main import main
from prompt_oirl.io.files import InputError, write_text


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
