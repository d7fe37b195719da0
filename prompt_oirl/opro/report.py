"""What a run leaves behind: CSV tables, the accuracy-per-step figure, and a report in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import InputError, atomic_write, on_one_line, write_csv, write_text
from prompt_oirl.opro.candidates import ACCEPTED
from prompt_oirl.opro.loop import START, Candidate, Run
from prompt_oirl.opro.predicting_scorers import HybridScorer, RewardModelScorer
from prompt_oirl.opro.prompt_rewards import MIN_INSTRUCTIONS
from prompt_oirl.opro.scorers import Spending
from prompt_oirl.reports.figures import BLUE, GREY, ORANGE
from prompt_oirl.stats.metrics import ClusterBootstrap

CANDIDATES = [
    "step", "sample", "prompt_id", "verdict", "kind", "train", "train_n", "train_ci_low", "train_ci_high",
    "validation", "validation_n", "instruction",
]  # fmt: skip
STEPS = ["step", "temperature", "proposed", "accepted", "mean", "sd", "best", "best_so_far", "proposer"]
RESULT = [
    "task", "seed", "proposer", "scorer", "what", "prompt_id", "value", "ci_low", "ci_high", "n", "groups", "instruction",
]  # fmt: skip
PREDICTIONS = ["step", "prompt_id", "picked", "predicted", "lower_bound", "measured", "instruction"]
TEST = ["question_id", "group", "initial", "winner"]
POOL = ["prompt_id", "role", "position", "text"]  # the columns of data/prompts.csv


def write_tables(run: Run, folder: Path, proposer: str, scorer: str) -> list[Path]:
    """candidates.csv (everything proposed), trajectory.csv (what was scored), steps.csv, result.csv,
    test_questions.csv, instructions.csv, meta_prompts.txt; predictions.csv where a hybrid scorer
    predicted."""
    bootstrap = ClusterBootstrap(run.parts.clusters(run.parts.train), 0)
    rows = [candidate_row(c, bootstrap, run) for c in run.candidates]
    write_csv(folder / "candidates.csv", rows, CANDIDATES)
    scored = [row for row, c in zip(rows, run.candidates) if c.train is not None]
    write_csv(folder / "trajectory.csv", scored, CANDIDATES)
    write_csv(folder / "steps.csv", step_rows(run, proposer), STEPS)
    write_csv(folder / "result.csv", result_rows(run, proposer, scorer), RESULT)
    write_csv(folder / "test_questions.csv", test_rows(run), TEST)
    if isinstance(run.scorer, HybridScorer):
        write_csv(folder / "predictions.csv", prediction_rows(run, run.scorer), PREDICTIONS)
    pool = [c.prompt for c in run.scored if c.prompt and c.prompt.text]
    write_csv(folder / "instructions.csv", [pool_row(p) for p in pool], POOL)
    write_text(
        folder / "meta_prompts.txt",
        "".join(f"===== step {i} =====\n{t}\n\n" for i, t in enumerate(run.meta_prompts)),
    )
    return sorted(folder.glob("*.csv"))


def pool_row(prompt: Any) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "role": "unseen",
        "position": prompt.position,
        "text": prompt.text,
    }


def prediction_rows(run: Run, scorer: HybridScorer) -> Iterator[dict[str, Any]]:
    """What was predicted of each instruction when it was picked, and what measuring it gave."""
    measured = {c.prompt.id: c.train.mean for c in run.scored if c.prompt and c.train}
    for p in scorer.predictions:
        yield {
            "step": p.step, "prompt_id": p.prompt.id, "picked": p.picked, "predicted": p.value,
            "lower_bound": p.lower_bound, "measured": measured.get(p.prompt.id), "instruction": p.prompt.text,
        }  # fmt: skip


def candidate_row(c: Candidate, bootstrap: ClusterBootstrap, run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"step": c.step, "sample": c.sample, "verdict": c.verdict}
    if c.prompt:
        row |= {"prompt_id": c.prompt.id, "instruction": c.prompt.text}
    if c.train:
        value, low, high = bootstrap.mean(c.train.values[:, None])[0]
        row |= {"kind": c.train.kind, "train": value, "train_n": len(c.train.values)}
        row |= {"train_ci_low": low, "train_ci_high": high}
    if c.validation:
        row |= {"validation": c.validation.mean, "validation_n": len(c.validation.values)}
    return row


def step_rows(run: Run, proposer: str) -> Iterator[dict[str, Any]]:
    """Train accuracy of each step's new instructions: mean, standard deviation and best, and the best so
    far."""
    best = 0.0
    for step in sorted({c.step for c in run.candidates}):
        here = [c for c in run.candidates if c.step == step]
        scores = [c.train.mean for c in run.scored if c.train and c.scored_at == step]
        best = max([best, *scores])
        yield {
            "step": step,
            "temperature": None if step == START else run.settings.temperature_at(step),
            "proposed": 0 if step == START else len(here),
            "accepted": sum(c.verdict == ACCEPTED for c in here),
            "mean": float(np.mean(scores)) if scores else None,
            "sd": float(np.std(scores)) if scores else None,
            "best": max(scores) if scores else None,
            "best_so_far": best,
            "proposer": proposer,
        }


def result_rows(run: Run, proposer: str, scorer: str) -> Iterator[dict[str, Any]]:
    """Test accuracy of the initial instructions and of the winner, and the winner's paired gain over the
    first one."""
    if run.winner is None or run.winner.test is None:
        return
    groups = run.parts.clusters(run.parts.test)
    about = {"task": run.task.name, "seed": run.seed, "proposer": proposer, "scorer": scorer}
    initial = [c for c in run.candidates if c.step == START]
    lines: list[tuple[str, Candidate, np.ndarray]] = []
    for c in initial:
        if c.test:
            lines.append(("test accuracy, initial", c, c.test.values))
    lines.append(("test accuracy, winner", run.winner, run.winner.test.values))
    if initial[0].test:
        lines.append(
            ("test gain, winner - initial", run.winner, run.winner.test.values - initial[0].test.values)
        )
    bootstrap = ClusterBootstrap(groups, 0)
    for what, c, values in lines:
        value, low, high = bootstrap.mean(values[:, None])[0]
        assert c.prompt is not None
        yield {
            **about, "what": what + (" (predicted)" if c.test and c.test.kind == "predicted" else ""), "prompt_id": c.prompt.id, "value": value, "ci_low": low, "ci_high": high,
            "n": len(values), "groups": bootstrap.n_clusters, "instruction": c.prompt.text,
        }  # fmt: skip


def test_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Verdicts of the first initial instruction and of the winner on every test question."""
    first, winner = run.candidates[0] if run.candidates else None, run.winner
    if first is None or first.test is None or winner is None or winner.test is None:
        return
    for q, before, after in zip(run.parts.test, first.test.values, winner.test.values):
        yield {
            "question_id": q.id,
            "group": run.parts.groups[q.id],
            "initial": before,
            "winner": after,
        }


def pooled_gain(tables: Sequence[Sequence[dict[str, str]]]) -> dict[str, Any] | None:
    """The winners' mean test gain over several runs: every run's test questions count alike, resampled by
    group."""
    gains: dict[tuple[str, int], list[float]] = {}
    for table in tables:
        for row in table:
            gain = float(row["winner"]) - float(row["initial"])
            gains.setdefault((row["question_id"], int(row["group"])), []).append(gain)
    if not gains:
        return None
    bootstrap = ClusterBootstrap(np.array([group for _, group in gains]), 0)
    value, low, high = bootstrap.ratio(
        np.array([[sum(g)] for g in gains.values()]), np.array([[float(len(g))] for g in gains.values()])
    )[0]
    return {"value": value, "ci_low": low, "ci_high": high, "n": len(gains), "groups": bootstrap.n_clusters}


def write_report(run: Run, folder: Path, proposer: str, scorer: str, spending: Spending) -> Path:
    """report.md: what was found, how sure that is, what it cost and what it did not have to cost."""
    lines = [f"# Instructions for {run.task.name}", "", f"Proposer: {proposer}. Scorer: {scorer}.", ""]
    if run.stopped:
        lines += [
            f"**Unfinished**: stopped by {run.stopped}. The same command with a larger limit goes on.",
            "",
        ]
    lines += [*_result_lines(run, proposer, scorer), "", "Best on train:", ""]
    ranked = sorted(
        (c for c in run.scored if c.prompt), key=lambda c: (-(c.train.mean if c.train else 0), c.step)
    )
    for c in ranked[:5]:
        assert c.prompt and c.train
        lines.append(
            f"- {c.train.mean:.1%} of {len(c.train.values)} ({c.train.kind}, step {c.step}): {_code(c.prompt.text)}"
        )
    asked = [c for c in run.candidates if c.step != START]
    reasons: dict[str, int] = {}
    for c in asked:
        reasons[c.verdict] = reasons.get(c.verdict, 0) + 1
    counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    lines += ["", f"Proposals: {len(asked)} ({counts})." if asked else "Proposals: none."]
    unscored = [c for c in asked if c.verdict != ACCEPTED and c.prompt and c.prompt.text]
    needed, paid, before = spending.total("needed"), spending.total("asked"), spending.before()
    lines += [
        f"Scorer calls: {paid:,} of {needed:,} answers had to be asked for; {needed - paid:,} stood in the log already. "
        f"Rejected before scoring: {len(unscored)} instructions, which saved {len(unscored) * len(run.parts.train):,} more.",
        *([f"Runs in this folder with other --loop.steps asked for {before:,} more."] if before else []),
        *_prediction_lines(run),
        "",
        f"Questions: {len(run.parts.train)} train, {len(run.parts.validation)} validation, {len(run.parts.test)} test; "
        f"{run.parts.left_out} left out because a near-duplicate stands in another part.",
    ]
    path = folder / "report.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def _prediction_lines(run: Run) -> list[str]:
    if isinstance(run.scorer, RewardModelScorer):
        value, low, high = run.scorer.correlation
        return [
            f"Train scores are predicted, no answer was asked for; rank correlation on left-out instructions {value:.2f} "
            f"({low:.2f} to {high:.2f})."
        ]
    if isinstance(run.scorer, HybridScorer):
        left = sum(c.verdict == ACCEPTED and c.train is None for c in run.candidates)
        tried = ", ".join(f"{v:.2f} at step {s}" for s, v in run.scorer.correlations.items())
        ranks = (
            tried
            or f"never tried, for fewer than {MIN_INSTRUCTIONS} instructions were measured before the last step"
        )
        return [
            f"Accepted but never measured: {left} instructions, which saved {left * len(run.parts.train):,} more. Rank "
            f"correlation on left-out instructions: {ranks}. Where it is not tried or below --reward.threshold "
            f"{run.scorer.threshold:g}, all picks are random.",
        ]
    return []


def _result_lines(run: Run, proposer: str, scorer: str) -> list[str]:
    rows = list(result_rows(run, proposer, scorer))
    if not rows or run.winner is None or run.winner.prompt is None:
        return ["No winner was chosen yet."]
    lines = [f"Chosen on validation: {_code(run.winner.prompt.text)}", ""]
    lines += ["| test | accuracy | 95 % interval | n | groups |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['what']} | {row['value']:.1%} | {row['ci_low']:.1%} to {row['ci_high']:.1%} | {row['n']} | {row['groups']} |"
        )
    return lines


def _code(text: str) -> str:
    return f"`{on_one_line(text, 500).replace('`', chr(39))}`" if text else "(empty)"


def draw_steps(tables: Sequence[Sequence[dict[str, str]]], title: str, path: Path) -> Path:
    """Train accuracy per step of one or several runs: best so far, mean over runs and spread; mean of the new
    ones."""
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    return path


def _curve(table: Sequence[dict[str, str]], column: str, last: int) -> np.ndarray:
    """One column by step from START to `last`; after early stopping the best so far stays what it was."""
    by_step = {int(row["step"]): float(row[column]) if row[column] else np.nan for row in table}
    curve = np.array([by_step.get(step, np.nan) for step in range(START, last + 1)])
    if column == "best_so_far":
        curve[np.isnan(curve)] = curve[~np.isnan(curve)][-1]
    return curve
