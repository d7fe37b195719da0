"""A run's folder: one process at a time, settings that stay what they were, and the table over all seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import POSITIONS, Prompt
from prompt_oirl.data.questions import is_unicode
from prompt_oirl.io.files import (
    InputError,
    check_folder_name,
    is_file_name,
    on_one_line,
    read_csv,
    sha256,
    write_csv,
)
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.locks import held
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.opro import report
from prompt_oirl.opro.loop import START, LoopSettings
from prompt_oirl.opro.prompt_rewards import RewardSettings
from prompt_oirl.opro.proposals import HINT
from prompt_oirl.opro.second_round import PHRASE
from prompt_oirl.opro.tasks import Parts
from prompt_oirl.reports.figures import BLUE, GREY, ORANGE, save_figure, style_axes

HOW_TO_RESUME = "the same command with a larger limit resumes"


def check_names(task: str, run: str, llm: str | None) -> None:
    """Refuse names that cannot be part of the paths of a run's files.

    Parameters
    ----------
    task : value of --task
    run : value of --run, the name of a folder
    llm : value of --llm; None is not checked

    Raises: InputError that names the flag.
    """
    for flag, name in (("--task", task), ("--llm", llm)):
        if name is not None and not is_file_name(name):
            raise InputError(f"{flag} {name!a}: give letters, digits, _ - . only, and not 'all'")
    check_folder_name("--run", run)


def check_at_least(least: int, **flags: int) -> None:
    """Refuse the first flag that is below `least`."""
    for flag, value in flags.items():
        if value < least:
            raise InputError(f"--{flag} {value}: give {least} or more")


def check_temperature(flag: str, value: float) -> None:
    """Refuse a sampling temperature that is none."""
    if not 0 <= value <= 10:
        raise InputError(f"{flag} {value}: give a number from 0 to 10")


def check_model(files: LogFiles, scorer: ModelOptions, second_round: bool = False) -> None:
    """Refuse to mix answers of two models, or of one and two rounds, in one log; a replay may leave the model
    out."""
    if scorer.ckpt_dir or scorer.model:
        about = {k: v for k, v in scorer.identity().items() if k != "max_seq_len"}
        files.check_model(about | ({"second_round": PHRASE} if second_round else {}))


def read_logs(flag: str, paths: Iterable[Path]) -> list[LogRow]:
    """Rows of the logs that a flag names, checked."""
    rows = []
    for path in paths:
        for number, row in enumerate(interactions.stream(path, hint=f"correct {flag}"), 1):
            try:
                Decoding.of(row)
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}; correct {flag}") from error
            if not is_unicode(row.question + row.prompt):
                raise InputError(
                    f"{path}:{number}: half of a surrogate pair, which is no text; correct {flag}"
                )
            rows.append(row)
    return rows


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """One process at a time works on a run."""
    busy = f"{folder}: this run is in progress in another process; wait, or give --run another name"
    with held(folder / ".lock", busy):
        yield


def check_settings(path: Path, settings: dict[str, Any], hint: str = HINT) -> None:
    """Refuse to resume in the folder of a run with other settings than these.

    Parameters
    ----------
    path : file with the settings of the run; if it is missing there is nothing to refuse
    settings : of the new run; what only the file holds is not compared
    hint : what the user can do, the end of the message; default: delete or rename the run

    Raises: InputError that names what has changed, or says that the file holds no settings.
    """
    if path.is_file():
        old = read_json(path, hint=hint)
        if not isinstance(old, dict):
            raise InputError(f"{path}: not the settings of a run; {hint}")
        changed = list(_changes(old, settings, ""))
        if changed:
            raise InputError(f"{path}: this run was started with {', '.join(changed)}; {hint}")


def _changes(old: Any, new: Any, name: str) -> Iterator[str]:
    """What differs, as flags with the old and the new value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in new:
            yield from _changes(old.get(key), new[key], f"{name}.{key}" if name else key)
    elif old != new:
        if name in ("questions", "reward_log", "instructions") and old and new:
            yield f"another content of --{name}"
        else:
            was, now = (on_one_line(json.dumps(value)) for value in (old, new))
            yield f"--{name} {was} (now {now})"


def search_settings(options: Any) -> dict[str, Any]:
    """What decides the results of a run of step 1, besides its seed and its models; it must not change on
    resuming.

    `options` are the flags of step 1. Steps may change, where nothing hangs on them.
    """
    loop = asdict(options.loop)
    if options.loop.end_temperature is None:
        loop.pop("steps")
    names = ["task", "position", "grader", "train_size", "validation_size", "test_size", "temperature"]
    names += ["max_gen_len", "optimizer_max_gen_len", "initial", "score_by", "judge", "search_space"]
    flags = {"optimizer_top_p": 1.0, "second_round": False}
    given = {name: getattr(options, name) for name in flags if getattr(options, name) != flags[name]}
    return {
        **{name: getattr(options, name) for name in names},
        **given,  # runs made before these flags can be resumed
        "initial": list(options.initial),
        "questions": options.questions and sha256(options.questions),
        "loop": loop,
        "meta": asdict(options.meta),
        "reward": None if options.score_by == "llm" else asdict(options.reward),
        "reward_log": [sha256(path) for path in options.reward_log],
    }


def most_calls(
    parts: Parts, initial: int, loop: LoopSettings, reward: RewardSettings, score_by: str
) -> dict[str, int]:
    """The most scorer calls that a run can need, by part; rejected and logged ones come off.

    Parameters
    ----------
    parts : questions of the run
    initial : number of initial instructions
    loop : settings of the loop
    reward : how many instructions a hybrid scorer measures in each step
    score_by : llm, reward_model or hybrid

    Returns: number of answers for train, validation and test.
    """
    proposed = loop.steps * loop.samples
    scored = {
        "llm": initial + proposed,
        "reward_model": 0,
        "hybrid": initial + loop.steps * (reward.top + reward.explore),
    }[score_by]
    return {
        "train": len(parts.train) * min(scored, initial + proposed, loop.max_scored or scored),
        "validation": len(parts.validation) * (initial + min(loop.finalists, proposed)),
        "test": len(parts.test) * (initial + 1),
    }


def summarise(parent: Path, title: str) -> None:
    """result.csv, winners.csv (initial instructions and winners, for step 2) and accuracy_per_step.png over
    all seeds."""
    folders = sorted(parent.glob("seed*"), key=lambda path: int(path.name.removeprefix("seed")))
    done = [f for f in folders if (f / "steps.csv").is_file() and (f / "result.csv").is_file()]
    hint = "run opro_step1_optimize_prompts.py again"
    rows: list[dict[str, Any]] = [dict(row) for f in done for row in read_csv(f / "result.csv", hint=hint)]
    gain = report.pooled_gain([read_csv(f / "test_questions.csv", hint=hint) for f in done])
    if gain is not None and len(done) > 1:
        about = {name: rows[0][name] for name in ("task", "proposer", "scorer")}
        rows.append({**about, "seed": "all", "what": f"test gain, mean of {len(done)} runs", **gain})
        print(
            f"gain over {len(done)} runs: {gain['value']:+.1%} ({gain['ci_low']:+.1%} to "
            f"{gain['ci_high']:+.1%}), {gain['n']} test questions in {gain['groups']} groups"
        )
    write_csv(parent / "result.csv", rows, report.RESULT)
    tested = {row["prompt_id"]: row["instruction"] for row in rows if "accuracy" in row["what"]}
    position = read_settings(done[0] / "run.json")["position"] if done else "after"
    pool = [report.pool_row(Prompt(i, text or "", position)) for i, text in tested.items()]
    write_csv(parent / "winners.csv", pool, report.POOL)
    tables = [read_csv(f / "steps.csv", hint=hint) for f in done]
    draw_steps(
        tables, f"{title}, {len(tables)} run" + "s" * (len(tables) != 1), parent / "accuracy_per_step.png"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a run of step 1."""
    settings = read_json(path, hint="run opro_step1_optimize_prompts.py")
    known = isinstance(settings, dict) and settings.get("position") in POSITIONS
    if not known or not isinstance(settings.get("parts_seed"), int):
        raise InputError(f"{path}: not the settings of a run; {HINT}")
    return settings


def draw_steps(tables: Sequence[Sequence[dict[str, str]]], title: str, path: Path) -> Path:
    """Train accuracy per step of one or several runs: best so far, mean over runs and spread; mean of the new
    ones.

    Parameters
    ----------
    tables : rows of steps.csv of each run
    title : stands above the figure
    path : PNG to be written

    Returns: `path`.
    Raises: InputError if there is no table.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not tables:
        raise InputError("no run to draw; run opro_step1_optimize_prompts.py")
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    last = max(int(table[-1]["step"]) for table in tables)
    x = np.arange(START, last + 1) + 1  # shown from 0, the initial instruction
    for column, label, colour in (
        ("best_so_far", "Best so far", BLUE),
        ("mean", "New instructions of the step", ORANGE),
    ):
        curves = np.array([_curve(table, column, last) for table in tables])
        known = ~np.isnan(curves).all(axis=0)
        mean, low, high = np.full(len(x), np.nan), np.full(len(x), np.nan), np.full(len(x), np.nan)
        mean[known] = np.nanmean(curves[:, known], axis=0)
        spread = np.nanstd(curves[:, known], axis=0)
        if len(tables) == 1 and column == "mean":  # one run: the spread among the step's instructions
            spread = _curve(tables[0], "sd", last)[known]
        low[known], high[known] = mean[known] - spread, mean[known] + spread
        axes.plot(x, 100 * mean, color=colour, label=label, marker="o", markersize=3)
        axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("Step (0: initial instruction)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("Train accuracy, %")
    axes.set_title(title, fontsize=10)
    style_axes(axes, "y")
    axes.legend(fontsize=8, frameon=False)
    return save_figure(figure, path)


def _curve(table: Sequence[dict[str, str]], column: str, last: int) -> np.ndarray:
    """One column by step from START to `last`; after early stopping the best so far stays what it was."""
    by_step = {int(row["step"]): float(row[column]) if row[column] else np.nan for row in table}
    curve = np.array([by_step.get(step, np.nan) for step in range(START, last + 1)])
    if column == "best_so_far":
        curve[np.isnan(curve)] = curve[~np.isnan(curve)][-1]
    return curve
