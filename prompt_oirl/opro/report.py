"""What a run leaves behind: CSV tables and a report in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import on_one_line, write_csv, write_text
from prompt_oirl.opro.candidates import ACCEPTED
from prompt_oirl.opro.loop import START, Candidate, Run
from prompt_oirl.opro.meta_prompt_page import page
from prompt_oirl.opro.predicting_scorers import HybridScorer, RewardModelScorer
from prompt_oirl.opro.prompt_rewards import MIN_INSTRUCTIONS
from prompt_oirl.opro.shared_log import Spending
from prompt_oirl.stats.metrics import ClusterBootstrap

INTERVAL = ("value", "ci_low", "ci_high")
CANDIDATES = ["step", "sample", "prompt_id", "verdict", "kind", "train", "train_n", "train_ci_low"]
CANDIDATES += ["train_ci_high", "validation", "validation_n", "instruction"]
STEPS = ["step", "temperature", "proposed", "accepted", "mean", "sd", "best", "best_so_far", "proposer"]
RESULT = ["task", "seed", "proposer", "scorer", "what", "prompt_id", "value", "ci_low", "ci_high"]
RESULT += ["n", "groups", "instruction"]
PREDICTIONS = ["step", "prompt_id", "picked", "predicted", "lower_bound", "measured", "instruction"]
TEST = ["question_id", "group", "initial", "winner"]
POOL = ["prompt_id", "role", "position", "text"]  # the columns of data/prompts.csv


def write_tables(run: Run, folder: Path, scorer: str) -> list[Path]:
    """candidates.csv (everything proposed), trajectory.csv (what was scored), steps.csv, result.csv,
    test_questions.csv, instructions.csv, meta_prompts.txt (to read); predictions.csv where a hybrid scorer
    predicted.

    Parameters
    ----------
    run : finished or stopped; without a tested winner result.csv and test_questions.csv have no rows
    folder : where the files go; made if it is missing
    scorer : name of the language model that answers

    Returns: the CSV files in `folder`, by name.
    """
    bootstrap = ClusterBootstrap(run.parts.clusters(run.parts.train), 0)
    rows = [candidate_row(c, bootstrap) for c in run.candidates]
    write_csv(folder / "candidates.csv", rows, CANDIDATES)
    scored = [row for row, c in zip(rows, run.candidates) if c.train is not None]
    write_csv(folder / "trajectory.csv", scored, CANDIDATES)
    write_csv(folder / "steps.csv", step_rows(run), STEPS)
    write_csv(folder / "result.csv", result_rows(run, scorer), RESULT)
    write_csv(folder / "test_questions.csv", test_rows(run), TEST)
    if isinstance(run.scorer, HybridScorer):
        write_csv(folder / "predictions.csv", prediction_rows(run, run.scorer), PREDICTIONS)
    pool = [c.prompt for c in run.scored if c.prompt and c.prompt.text]
    write_csv(folder / "instructions.csv", [pool_row(p) for p in pool], POOL)
    write_text(folder / "meta_prompts.txt", page(run))
    return sorted(folder.glob("*.csv"))


def pool_row(prompt: Any) -> dict[str, Any]:
    """An instruction as a row of a prompt file."""
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
            "step": p.step,
            "prompt_id": p.prompt.id,
            "picked": p.picked,
            "predicted": p.value,
            "lower_bound": p.lower_bound,
            "measured": measured.get(p.prompt.id),
            "instruction": p.prompt.text,
        }


def candidate_row(c: Candidate, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """A candidate as a row of candidates.csv.

    Parameters
    ----------
    c : what is not known of it (no text, no score) has no column in the row
    bootstrap : over the groups of the train questions; gives the 95 % interval
    """
    row: dict[str, Any] = {"step": c.step, "sample": c.sample, "verdict": c.verdict}
    if c.prompt:
        row |= {"prompt_id": c.prompt.id, "instruction": c.prompt.text}
    if c.train:
        row |= {"kind": c.train.kind, "train_n": len(c.train.values)}
        estimate = bootstrap.mean(c.train.values[:, None])[0]
        row |= dict(zip(("train", "train_ci_low", "train_ci_high"), estimate))
    if c.validation:
        row |= {"validation": c.validation.mean, "validation_n": len(c.validation.values)}
    return row


def step_rows(run: Run) -> Iterator[dict[str, Any]]:
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
            "proposer": run.proposer.name,
        }


def result_rows(run: Run, scorer: str) -> Iterator[dict[str, Any]]:
    """Test accuracy of the initial instructions and of the winner, and the winner's paired gain over the
    first one."""
    if run.winner is None or run.winner.test is None:
        return
    groups = run.parts.clusters(run.parts.test)
    about = {"task": run.task.name, "seed": run.seed, "proposer": run.proposer.name, "scorer": scorer}
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
        estimate = dict(zip(INTERVAL, bootstrap.mean(values[:, None])[0]))
        assert c.prompt is not None
        predicted = c.test is not None and c.test.kind == "predicted"
        yield {
            **about,
            "what": what + (" (predicted)" if predicted else ""),
            "prompt_id": c.prompt.id,
            **estimate,
            "n": len(values),
            "groups": bootstrap.n_clusters,
            "instruction": c.prompt.text,
        }


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
    sums, counts = (np.array([[float(of(g))] for g in gains.values()]) for of in (sum, len))
    estimate = dict(zip(INTERVAL, bootstrap.ratio(sums, counts)[0]))
    return {**estimate, "n": len(gains), "groups": bootstrap.n_clusters}


def write_report(run: Run, folder: Path, scorer: str, spending: Spending) -> Path:
    """report.md: what was found, how sure that is, what it cost and what it did not have to cost.

    Parameters
    ----------
    run : finished or stopped
    folder : where the file goes; made if it is missing
    scorer : name of the language model that answers
    spending : answers that the run needed and that were asked for

    Returns: path of the report.
    """
    lines = [
        f"# Instructions for {run.task.name}",
        "",
        f"Proposer: {run.proposer.name}. Scorer: {scorer}.",
        "",
    ]
    if run.stopped:
        lines += [
            f"**Unfinished**: stopped by {run.stopped}. The same command with a larger limit resumes.",
            "",
        ]
    lines += [*_result_lines(run, scorer), "", "Best on train:", ""]
    ranked = sorted(
        (c for c in run.scored if c.prompt), key=lambda c: (-(c.train.mean if c.train else 0), c.step)
    )
    for c in ranked[:5]:
        assert c.prompt and c.train
        lines.append(
            f"- {c.train.mean:.1%} of {len(c.train.values)} ({c.train.kind}, step {c.step}): "
            f"{_code(c.prompt.text)}"
        )
    asked = [c for c in run.candidates if c.step != START]
    reasons = Counter(c.verdict for c in asked)
    counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    lines += ["", f"Proposals: {len(asked)} ({counts})." if asked else "Proposals: none."]
    unscored = [c for c in asked if c.verdict != ACCEPTED and c.prompt and c.prompt.text]
    needed, paid, before = spending.total("needed"), spending.total("asked"), spending.before()
    lines += [
        f"Scorer calls: {paid:,} of {needed:,} answers had to be asked for; {needed - paid:,} stood in the "
        f"log already. Rejected before scoring: {len(unscored)} instructions, which saved "
        f"{len(unscored) * len(run.parts.train):,} more.",
        *([f"Runs in this folder with other --loop.steps asked for {before:,} more."] if before else []),
        *_prediction_lines(run),
        "",
        f"Questions: {len(run.parts.train)} train, {len(run.parts.validation)} validation, "
        f"{len(run.parts.test)} test; {run.parts.left_out} left out because a near-duplicate stands in "
        "another part.",
    ]
    path = folder / "report.md"
    write_text(path, "\n".join(lines) + "\n")
    return path


def _prediction_lines(run: Run) -> list[str]:
    if isinstance(run.scorer, RewardModelScorer):
        value, low, high = run.scorer.correlation
        return [
            f"Train scores are predicted, no answer was asked for; rank correlation on left-out instructions "
            f"{value:.2f} ({low:.2f} to {high:.2f})."
        ]
    if isinstance(run.scorer, HybridScorer):
        left = sum(c.verdict == ACCEPTED and c.train is None for c in run.candidates)
        tried = ", ".join(f"{v:.2f} at step {s}" for s, v in run.scorer.correlations.items())
        too_few = f"fewer than {MIN_INSTRUCTIONS} instructions were measured before the last step"
        ranks = tried or f"never tried, for {too_few}"
        return [
            f"Accepted but never measured: {left} instructions, which saved {left * len(run.parts.train):,} "
            f"more. Rank correlation on left-out instructions: {ranks}. Where it is not tried or below "
            f"--reward.threshold {run.scorer.threshold:g}, all picks are random.",
        ]
    return []


def _result_lines(run: Run, scorer: str) -> list[str]:
    rows = list(result_rows(run, scorer))
    if not rows or run.winner is None or run.winner.prompt is None:
        return ["No winner was chosen yet."]
    part = "validation" if run.parts.validation else "train"
    lines = [f"Chosen on {part}: {_code(run.winner.prompt.text)}", ""]
    lines += ["| test | accuracy | 95 % interval | n | groups |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['what']} | {row['value']:.1%} | {row['ci_low']:.1%} to {row['ci_high']:.1%} "
            f"| {row['n']} | {row['groups']} |"
        )
    return lines


def _code(text: str) -> str:
    return f"`{on_one_line(text, 500).replace('`', chr(39))}`" if text else "(empty)"
