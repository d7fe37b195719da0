"""Kill a step at any moment, run it again: the same bytes as without the kill, nothing finished is redone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import QUICK, STEPS, run_step, write_tiny_log
from stop_at_write import stopping_environment
from tiny_runs import SMALL, files, times, tiny_runs

from prompt_oirl.io.files import REPO_ROOT

COMPARED = (".csv", ".npy", ".png", ".jsonl", ".safetensors")
SCRIPTS = REPO_ROOT / "llama_exps"
# Moments by the clock (in durations of an uninterrupted run) and by what has been written; always the same.
DRAW = random.Random(2024)
CLOCK = [(step, round(DRAW.uniform(*part), 2)) for step in STEPS for part in ((0.4, 0.75), (0.75, 1.2))]
CLOCK = [*CLOCK[::2], *(pytest.param(*late, marks=pytest.mark.slow) for late in CLOCK[1::2])]
WRITES = [(2, "first"), (2, "last"), (3, "middle"), (4, "middle"), (5, "last")]
WRITES += [
    pytest.param(*at, marks=pytest.mark.slow)
    for at in ((2, "middle"), (4, "first"), (4, "last"), (5, "middle"))
]


def start(number: int, root: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    """A step in a process group of its own, so that its workers are hit as well."""
    quick = [] if "--jobs" in flags else QUICK[number]
    return subprocess.Popen(
        [sys.executable, STEPS[number], "--llm", "tiny", "--root", str(root), *quick, *flags],
        cwd=SCRIPTS,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def stop_at_write(tmp_path: Path):
    """Run a step that gets a signal at its n-th write; returns (exit status, stderr)."""

    def run(
        number: int, root: Path, write: int, sent: signal.Signals, *flags: str, cut: bool = False
    ) -> tuple[int, str]:
        environment = stopping_environment(tmp_path / "hooks", write, sent, cut)
        process = start(number, root, *flags, **environment)
        _, stderr = process.communicate(timeout=120)
        return process.returncode, stderr

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_runs(tmp_path_factory)


def outputs(runs: Path, number: int) -> set[str]:
    """What step `number` writes, by comparing the root before and after it."""
    after = runs / (str(number + 1) if number < 5 else "finished")
    return times(after).keys() - times(runs / str(number)).keys()


def finished_fits(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every model whose record stands beside it, and of the record."""
    models = root / "llama_exps" / "tiny_models"
    found = times(models) if models.is_dir() else {}
    stems = {Path(p).stem for p in found if p.endswith(".json")} & {
        Path(p).stem for p in found if p.endswith(".safetensors")
    }
    return {p: found[p] for p in found if Path(p).stem in stems}


def assert_completes(number: int, root: Path, runs: Path, *flags: str) -> None:
    """Run the step again; its outputs must be those of an uninterrupted run, to the byte."""
    visible = [p for p in times(root) if not Path(p).name.startswith(".")]
    assert not [p for p in visible if p.endswith(".tmp")]
    done = finished_fits(root)
    run_step(number, root, *flags, own_process="--jobs" in flags)
    expected = files(runs / (str(number + 1) if number < 5 else "finished"), *COMPARED)
    found = {p: data for p, data in files(root, *COMPARED).items() if not Path(p).name.startswith(".")}
    assert found.keys() == expected.keys()
    assert [p for p in expected if found[p] != expected[p]] == []
    again = times(root / "llama_exps" / "tiny_models") if done else {}
    assert {p: again[p] for p in done} == done  # finished fits were not done again


# --- kill -9 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "fraction"), CLOCK)
def test_killed_by_the_clock(number: int, fraction: float, runs: Path, tmp_path: Path):
    root = Path(shutil.copytree(runs / str(number), tmp_path / "root"))
    jobs = ["--jobs", "2"] if number == 4 else []
    uninterrupted = json.loads((runs / "seconds.json").read_text())[str(number)]
    process = start(number, root, *jobs)
    time.sleep(uninterrupted * fraction)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert_completes(number, root, runs)


@pytest.mark.parametrize(("number", "moment"), WRITES)
def test_killed_while_writing(number: int, moment: str, runs: Path, stop_at_write, tmp_path: Path):
    root = Path(shutil.copytree(runs / str(number), tmp_path / "root"))
    n = len(outputs(runs, number))
    write = {"first": 1, "middle": random.Random(number).randrange(n // 4, 3 * n // 4), "last": n}[moment]
    status, _ = stop_at_write(number, root, write, signal.SIGKILL, cut=moment != "last")
    assert status == -signal.SIGKILL
    assert len([p for p in outputs(runs, number) if (root / p).exists()]) == write - 1
    assert [
        p for p in times(root) if Path(p).name.startswith(".") and p.endswith(".tmp")
    ]  # and one cut in two
    if number == 4 and moment != "first":
        assert finished_fits(root)
    assert_completes(number, root, runs)


@pytest.mark.slow
def test_killed_with_its_workers(runs: Path, stop_at_write, tmp_path: Path):
    root = Path(shutil.copytree(runs / "4", tmp_path / "root"))
    status, _ = stop_at_write(4, root, 12, signal.SIGKILL, "--jobs", "2")
    assert status == -signal.SIGKILL
    assert finished_fits(root)
    assert_completes(4, root, runs, "--jobs", "2")


def test_workers_end_with_a_killed_parent(runs: Path, tmp_path: Path):
    """And there are no more of them than there are fits, whatever --jobs says."""
    root = Path(shutil.copytree(runs / "4", tmp_path / "root"))
    flags = ("--split", "paper", "--subsets", "2", "--jobs", "99999999999999999999")
    process = start(4, root, *flags)
    models = root / "llama_exps" / "tiny_models"
    while not list(models.glob("*.json")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "--pipe" in child.cmdline()]
    process.kill()
    process.wait()
    left = psutil.wait_procs(children, timeout=30)[1]
    for child in left:
        child.kill()
    assert len(workers) == 3  # subsets of two of the three prompts
    assert not left


@pytest.mark.slow
def test_killed_again_and_again(runs: Path, stop_at_write, tmp_path: Path):
    """Each attempt gets five writes further; step 4 still ends, with the same bytes."""
    root = Path(shutil.copytree(runs / "4", tmp_path / "root"))
    counts = []
    for _ in range(4):
        assert stop_at_write(4, root, 11, signal.SIGKILL, cut=True)[0] == -signal.SIGKILL
        counts.append(len(finished_fits(root)))
    assert counts == sorted(set(counts))
    assert_completes(4, root, runs)


@pytest.mark.parametrize(("number", "flags"), [(2, []), (5, ["--price", "2", "--split", "paper"])])
def test_killed_over_older_results(number: int, flags: list[str], runs: Path, stop_at_write, tmp_path: Path):
    """Every file is the old one or the new one; another run makes all of them new."""
    base = Path(shutil.copytree(runs / "finished", tmp_path / "base"))
    if number == 2:
        write_tiny_log(base, **SMALL, seed=7)
    whole, root = (Path(shutil.copytree(base, tmp_path / name)) for name in ("whole", "root"))
    run_step(number, whole, *flags)
    old, new = files(base, *COMPARED), files(whole, *COMPARED)
    assert stop_at_write(number, root, 4, signal.SIGKILL, *flags, cut=True)[0] == -signal.SIGKILL
    between = {p: d for p, d in files(root, *COMPARED).items() if not Path(p).name.startswith(".")}
    assert between.keys() == old.keys()
    assert all(data in (old[p], new[p]) for p, data in between.items())
    run_step(number, root, *flags)
    after = {p: d for p, d in files(root, *COMPARED).items() if not Path(p).name.startswith(".")}
    assert after == new


@pytest.mark.parametrize(("killed", "script"), [(2, STEPS[2]), (3, STEPS[3])])
def test_the_next_step_refuses_a_mix_of_old_and_new(
    killed: int, script: str, runs: Path, stop_at_write, tmp_path: Path
):
    """A step killed over an older run of itself leaves files of both; nobody may read on from there."""
    root = Path(shutil.copytree(runs / "finished", tmp_path / "root"))
    write_tiny_log(root, **SMALL, seed=7)
    if killed == 3:
        run_step(2, root)
    assert stop_at_write(killed, root, 2, signal.SIGKILL)[0] == -signal.SIGKILL
    before = files(root, *COMPARED, ".json")
    result = run_step(killed + 1, root, check=False)
    assert result.returncode == 1, result.stdout
    assert result.stderr.startswith("error: ") and script in result.stderr
    assert files(root, *COMPARED, ".json") == before


WRITER = """
import sys
from pathlib import Path
from prompt_oirl.io.files import write_json
for i in range(300):
    write_json(Path(sys.argv[1]), {"i": i, "text": "x" * 100_000})
"""


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path):
    path = tmp_path / "table.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stderr=subprocess.PIPE) for _ in range(4)
    ]
    while any(w.poll() is None for w in writers):
        if path.exists():
            assert len(json.loads(path.read_text())["text"]) == 100_000  # never half a file
    assert [w.communicate()[1].decode()[-300:] for w in writers] == [""] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


def test_two_at_once_do_not_disturb_each_other(runs: Path, tmp_path: Path):
    root = Path(shutil.copytree(runs / "4", tmp_path / "root"))
    pair = [start(4, root) for _ in range(2)]
    for process in pair:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    assert_completes(4, root, runs)


# --- Ctrl-C ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "jobs"),
    [
        (2, ""),
        (3, ""),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in [(4, "1"), (4, "2"), (5, "")]),
    ],
)
def test_interrupt_is_one_clear_line(number: int, jobs: str, runs: Path, stop_at_write, tmp_path: Path):
    root = Path(shutil.copytree(runs / str(number), tmp_path / "root"))
    status, stderr = stop_at_write(number, root, 3, signal.SIGINT, *(["--jobs", jobs] if jobs else []))
    assert status == 130
    assert stderr == "stopped; run the same command again to continue\n"
    if jobs != "2":  # workers are killed, and what they leave is swept later
        assert not [p for p in times(root) if p.endswith(".tmp")]  # the file in the making was removed
    assert_completes(number, root, runs)
