"""The soaks in small, and that they fail where something is lost, doubled or grown."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_oirl.io.files import REPO_ROOT, read_csv
from torture import soak, soak_serve, soak_step1
from torture.flaky_server import FAULTS
from torture.soak import Args, as_markdown, main
from torture.watch import Soaked, Watch

TABLE = Path("results/reference/soak.csv")


def watched(*looks: tuple[float, float, int]) -> Watch:
    return Watch((), lambda: 1.0, list(looks))


FLAT = watched((0.0, 10.0, 5), (0.15, 90.0, 7), (0.5, 300.0, 99), (0.95, 91.0, 7), (1.0, 92.0, 8))


@pytest.mark.parametrize(
    ("soaked", "watch", "wrong"),
    [
        (Soaked({"429": 3}, 20, 20, 0, 0), FLAT, ""),
        (Soaked({}, 21, 20, 1, 0), FLAT, "step1: doubles"),
        (Soaked({}, 20, 19, 0, 1), FLAT, "step1: losses"),
        (Soaked({}, 20, 20, 0, 0), watched((0.1, 90.0, 7), (1.0, 123.0, 7)), "step1: memory grew"),
        (Soaked({}, 20, 20, 0, 0), watched((0.1, 90.0, 7), (1.0, 90.0, 24)), "step1: open files grew"),
    ],
)
def test_a_soak_fails_where_something_is_wrong(
    soaked: Soaked,
    watch: Watch,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(soak_step1, "soak", lambda items, seed, work: (soaked, watch))
    assert main("step1", Args(items=20, out=tmp_path)) == bool(wrong)
    assert capsys.readouterr().err == (f"FAILED: {wrong}\n" if wrong else "")
    (row,) = read_csv(tmp_path / TABLE, hint="")
    assert (row["what"], row["items"], row["mb_start"]) == ("step1", "20", "90")


def test_security_md_shows_the_committed_table() -> None:
    rows = read_csv(REPO_ROOT / TABLE, hint="")
    assert {row["what"] for row in rows} == set(soak.ITEMS)
    page = (REPO_ROOT / "docs" / "security.md").read_text()
    assert f"<!-- table: soak -->\n{as_markdown(rows)}<!-- end -->" in page
    assert all(row["doubles"] == row["losses"] == "0" for row in rows)


@pytest.mark.slow
def test_step_1_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_step1, "SHARE", 0.2)
    monkeypatch.setattr(soak_step1, "TIMEOUT", 3)
    soaked, watch = soak_step1.soak(300, 0, tmp_path)
    assert set(FAULTS) < set(soaked.faults) and watch.looks
    assert (soaked.rows, soaked.doubles, soaked.losses) == (300, 0, 0)
    assert soaked.paid == 300 + soaked.faults["unread in time"]


@pytest.mark.slow
def test_serve_in_small(tmp_path: Path) -> None:
    soaked, watch = soak_serve.soak(300, 0, tmp_path)
    assert soaked == Soaked({}, 300, 300, 0, 0) and watch.looks


@pytest.mark.slow
def test_dask_in_small(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from torture import soak_dask

    soaked, watch = soak_dask.soak(1, 0, tmp_path, kill_seconds=20, log="tiny")
    assert soaked.rows and soaked.doubles == soaked.losses == 0 and watch.looks
