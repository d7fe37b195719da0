"""NOTICE names everything that is fetched and depended upon, and nothing else."""

from __future__ import annotations

import make_notice

from prompt_oirl.io.download import read_by_hand, read_sources, read_wheels
from prompt_oirl.io.files import REPO_ROOT


def test_notice_is_up_to_date() -> None:
    notice = (REPO_ROOT / "NOTICE").read_text(encoding="utf-8")
    whole = " ".join(notice.split())
    for name in [source.name for source in read_sources()] + [hand.path for hand in read_by_hand()]:
        assert f"- {name}" in whole, "run scripts/make_notice.py"
    for wheel in read_wheels():
        assert wheel.requirement in whole, "run scripts/make_notice.py"
    listed = notice.split("packages that pip installs")[1].splitlines()[2:]
    names, licences = zip(*(line.removeprefix("- ").split(": ", 1) for line in listed))
    assert list(names) == make_notice.dependencies(), "run scripts/make_notice.py"
    assert all(licences)
