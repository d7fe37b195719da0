"""The log that comes with the package."""

from __future__ import annotations

import gzip
from pathlib import Path

from make_example_log import Args, main

from prompt_oirl.data.user_log import read_log
from prompt_oirl.examples import LOG, QUESTIONS


def test_shipped_log_is_what_the_script_makes(tmp_path: Path) -> None:
    main(Args(out=tmp_path / "log.csv", questions=tmp_path / "questions.csv"))
    assert gzip.decompress(LOG.read_bytes()) == (tmp_path / "log.csv").read_bytes()
    assert QUESTIONS.read_bytes() == (tmp_path / "questions.csv").read_bytes()
    log = read_log(LOG)
    assert (len(log.questions), len(log.prompts)) == (300, 4)
    assert LOG.stat().st_size < 100_000
