"""Runs told to TensorBoard, W&B and MLflow by their own writers; W&B and MLflow where they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prompt_oirl.io.files import InputError
from prompt_oirl.io.tracking import reporting


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: (step, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {t: [(e.step, round(e.value, 5)) for e in read.Scalars(t)] for t in read.Tags()["scalars"]}


def tell(to: list[str], folder: Path, steps: range) -> None:
    with reporting(to, folder, "a run", {"rate": 0.1, "flags": {"a": 1}}) as report:
        for step in steps:
            report(step, {"step": step, "loss": 1 / (step + 1), "what": "a text", "none": None})


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    tell(["tensorboard"], tmp_path, range(7))  # killed after step 6; its checkpoint is of step 4
    tell(["tensorboard"], tmp_path, range(10))
    found = curves(tmp_path)
    assert found["loss"] == [(step, round(1 / (step + 1), 5)) for step in range(10)]
    assert set(found) == {"step", "loss"}


def test_no_tracker_writes_nothing(tmp_path: Path) -> None:
    tell([], tmp_path, range(3))
    tell(["none"], tmp_path, range(3))
    assert not list(tmp_path.iterdir())


def test_a_number_that_is_none_is_left_out(tmp_path: Path) -> None:
    with reporting(["tensorboard", "none", "tensorboard"], tmp_path, "a run") as report:
        report(1, {"loss": float("nan"), "score": 0.5})
    assert curves(tmp_path) == {"score": [(1, 0.5)]}


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else True)
    with (
        pytest.raises(InputError, match="--report_to wandb: pip install wandb"),
        reporting(["wandb"], tmp_path, "a run"),
    ):
        pass


def test_a_tracker_that_cannot_start_or_fails_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder goes")
    with (
        pytest.raises(InputError, match="--report_to tensorboard does not start"),
        reporting(["tensorboard"], tmp_path, "a run"),
    ):
        pass
    with reporting(["tensorboard"], tmp_path / "b", "a run") as report:
        report(1, {"loss": 0.1})
        report(1, {5: 0.1})  # type: ignore[dict-item]
        report(2, {"loss": 0.2})
    assert capsys.readouterr().err.count("warning: tensorboard is told no more") == 1


def test_mlflow_has_a_resumed_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    tell(["mlflow"], tmp_path / "run", range(7))
    tell(["mlflow"], tmp_path / "run", range(10))
    [run] = mlflow.search_runs(experiment_names=["prompt-oirl"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(step, 1 / (step + 1)) for step in range(10)]
    assert run.data.params["rate"] == "0.1" and run.info.run_name == "a run"


def test_wandb_keeps_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for steps in (range(7), range(10)):
        tell(["wandb"], tmp_path, steps)
    kept = json.loads((tmp_path / "wandb.json").read_text())["id"]
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    assert folders and all(folder.name.endswith(kept) for folder in folders)
