"""Runs seen in TensorBoard, W&B and MLflow, each through its own writer; off unless --report_to asks for it.

A run that was killed and resumed is one run: its steps stand there once, those before the kill as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.io.files import InputError, on_one_line, write_json
from prompt_oirl.io.json_files import read_json

Tracker = Literal["none", "tensorboard", "wandb", "mlflow"]
Report = Callable[[int, Mapping[str, Any]], None]  # a step, and its numbers by name
PROJECT = "prompt-oirl"


@contextmanager
def reporting(
    to: Sequence[str], folder: Path, name: str, about: Mapping[str, Any] | None = None
) -> Iterator[Report]:
    """A function that reports a step of a run; told a step that a tracker has already, it leaves it there.

    Parameters
    ----------
    to : trackers by name; "none" is none
    folder : of the run: TensorBoard's files, and its ids in W&B and MLflow; without it a new run begins
    name : of the run, as W&B and MLflow show it
    about : JSON-like, settings that W&B and MLflow keep with it

    Raises: InputError if a tracker is not installed or does not start.
    """
    asked = [tracker for tracker in dict.fromkeys(to) if tracker != "none"]
    for tracker in asked:
        if importlib.util.find_spec(tracker) is None:
            name = "'prompt-oirl[report]'" if tracker == "tensorboard" else tracker
            raise InputError(f"--report_to {tracker}: pip install {name}")
    with ExitStack() as stack:
        active: dict[str, Report] = {}
        for tracker in asked:
            try:
                active[tracker] = stack.enter_context(_OPENED[tracker](folder, name, about or {}))
            except Exception as error:  # each library has its own
                raise InputError(f"--report_to {tracker} does not start ({_reason(error)})") from error

        def report(step: int, values: Mapping[str, Any]) -> None:
            numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float)}
            for tracker, tell in list(active.items()):
                try:
                    tell(step, {k: v for k, v in numbers.items() if math.isfinite(v)})
                except Exception as error:  # a server that is gone must not end a training
                    del active[tracker]
                    print(f"warning: {tracker} is told no more ({_reason(error)})", file=sys.stderr)

        yield report


def _reason(error: Exception) -> str:
    return on_one_line(f"{type(error).__name__}: {error}", 200)


@contextmanager
def _tensorboard(folder: Path, name: str, about: Mapping[str, Any]) -> Iterator[Report]:
    from torch.utils.tensorboard import SummaryWriter

    # Whoever resumes tells all steps again; what stood there before is passed over.
    with SummaryWriter(str(folder / "tensorboard"), purge_step=0) as writer:  # type: ignore[no-untyped-call]

        def tell(step: int, values: Mapping[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)  # type: ignore[no-untyped-call]

        yield tell


@contextmanager
def _wandb(folder: Path, name: str, about: Mapping[str, Any]) -> Iterator[Report]:
    wandb = importlib.import_module("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(
        project=PROJECT,
        name=name,
        dir=str(folder),
        config=dict(about),
        id=_known_id(folder, "wandb"),
        resume="allow",
    ) as run:
        _keep_id(folder, "wandb", run.id)
        first = run.starting_step

        def tell(step: int, values: Mapping[str, float]) -> None:
            if step >= first:
                run.log(dict(values), step=step)

        yield tell


@contextmanager
def _mlflow(folder: Path, name: str, about: Mapping[str, Any]) -> Iterator[Report]:
    mlflow = importlib.import_module("mlflow")
    known = _known_id(folder, "mlflow")
    if known is None:
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_id=known, run_name=name) as run:
        _keep_id(folder, "mlflow", run.info.run_id)
        if known is None:
            mlflow.log_params({key: str(value)[:500] for key, value in about.items()})
        last = run.data.metrics.get("step", -1)  # every row says its step

        def tell(step: int, values: Mapping[str, float]) -> None:
            if step > last:
                mlflow.log_metrics({**values, "step": float(step)}, step=step)

        yield tell


_OPENED = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}


def _known_id(folder: Path, tracker: str) -> str | None:
    path = folder / f"{tracker}.json"
    found = read_json(path, hint=f"delete {path}") if path.is_file() else {}
    return found.get("id") if isinstance(found, dict) else None


def _keep_id(folder: Path, tracker: str, value: str) -> None:
    write_json(folder / f"{tracker}.json", {"id": value})
