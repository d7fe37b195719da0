"""Damaged files of each tool: read as well as can be, or refused in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from damaged_files import SECONDS, VERDICTS, check_rows, damaged, files_of, no_longer_than

from prompt_oirl.importers import IMPORTERS
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.io.files import InputError
from prompt_oirl.io.table_output import ENDINGS


# All tools: 11,250 files where the slow tests run.
@pytest.mark.parametrize("times", [100, pytest.param(1250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("tool", list(IMPORTERS))
def test_damaged_files_are_read_or_refused_in_one_line(tool: str, times: int, tmp_path: Path) -> None:
    files_here = tmp_path / "files"
    files_here.mkdir()
    files = files_of(tool, files_here)
    whole = {path: path.read_bytes() for path in files}
    rng = random.Random(17)
    refused = 0
    for i in range(times):
        path = rng.choice(files)
        path.write_bytes(damaged(rng, whole[path], path.name))
        named = [path] if tool == "promptfoo" else files
        verdict = rng.choice([None, *VERDICTS.get(tool, [])])
        with no_longer_than(SECONDS):
            try:
                found = read_answers(tool, named, verdict)
                write_log(tmp_path / f"log{ENDINGS[i % 3]}", found.rows, append=False)
            except InputError as error:
                refused += 1
                message = str(error)
                assert message.isprintable() and len(message) < 2_000, message
            else:
                check_rows(found.rows)
                assert all(note.isprintable() for note in found.notes)
        path.write_bytes(whole[path])
    assert times / 30 < refused < times - times / 30  # both happen
