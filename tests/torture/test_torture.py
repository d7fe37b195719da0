"""The driver: it counts, stops in time, and prints the command that repeats a failure."""

from __future__ import annotations

import pytest

from torture import kill
from torture.__main__ import Args, main


def test_a_kill_is_tried_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Args(kind="kill", only="grade", tries=1, seed=3)) == 0
    assert capsys.readouterr().out.startswith("kill grade: 1 tries, 0 failed\nall: 1 in ")


def test_a_failure_prints_what_repeats_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def fail(case: str, rng: object, work: object) -> None:
        drawn.append((case, rng.random()))  # type: ignore[attr-defined]
        raise AssertionError("something was lost")

    monkeypatch.setattr(kill, "attempt", fail)
    assert main(Args(kind="kill", tries=3, seed=40)) == 1
    said = capsys.readouterr().out
    case, draw = drawn[2]
    assert "something was lost" in said and "3 failed; seed 40" in said
    assert f"make torture seed=42 kind=kill only={case!r} tries=1" in said
    assert main(Args(kind="kill", tries=1, seed=42, only=case)) == 1 and drawn[3] == (case, draw)
    for wrong in (Args(kind="none"), Args(kind="kill", only="none")):
        with pytest.raises(SystemExit, match="error: --"):
            main(wrong)
