"""How many calls `prompt-oirl plan` needs, against asking at random, where the truth is known.

    python scripts/measure_plan.py                 # about 20 minutes on two cores

Five simulated settings (1,000 questions to ask, 1,000 held out) and the tiny model's log of arith (every cell
known: asking is looking up). Each policy is called again and again on the log that its plans have grown. At
each checkpoint a selector is learned and its picks are scored by the true success on held-out questions; at
every fourth one the verdict of diagnose is taken. Writes plan.csv, plan_curves.csv and plan.png of
results/reference and the table of docs/planning.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from prompt_oirl.data.near_duplicates import cluster_texts
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import REPO_ROOT, Paths, require, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.planning import policies
from prompt_oirl.planning.known import Known
from prompt_oirl.reports.figures import BLUE, GREEN, GREY, save_figure, style_axes
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.reward_models.cells import Cells, sigmoid
from prompt_oirl.reward_models.effects import learn_effects
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.study import study
from prompt_oirl.selection.verdict import decide_verdict

QUESTIONS, AXES = 1000, 64
SETTINGS = {
    "groups": "each of 4 kinds of questions has a prompt of its own",
    "smooth": "what suits a question changes gradually",
    "poor": "as groups, among 20 prompts that are poor everywhere",
    "dominating": "one prompt is best everywhere",
    "alike": "all prompts are equally good",
    "arith": "the tiny model's log",
}
PROMPTS = {"groups": 8, "smooth": 6, "poor": 24, "dominating": 8, "alike": 8}
POLICIES = {"uniform": GREY, "interaction": BLUE, "best": GREEN}
FIRST, CHECKPOINTS, SHARE = 96, 20, 0.9


@dataclass
class Args:
    seeds: int = 10
    """Simulated logs per setting."""
    verdict_seeds: int = 4
    """Of these, how many are also diagnosed, which takes most of the time."""
    workers: int = 2
    """Processes."""
    settings: str = ",".join(SETTINGS)
    """Which settings."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


@dataclass(frozen=True, eq=False)
class World:
    """Answers (n, K) that can be asked for, and the true success (m, K) on held-out questions."""

    phi: np.ndarray
    answers: np.ndarray
    clusters: np.ndarray
    held_out: np.ndarray
    truth: np.ndarray


def main(args: Args) -> None:
    jobs = list(product(args.settings.split(","), range(args.seeds)))
    found = Parallel(n_jobs=args.workers)(delayed(curves)(*job, job[1] < args.verdict_seeds) for job in jobs)
    curve = pd.DataFrame([row for rows in found for row in rows])
    table = calls_needed(curve)
    reference = args.out / "results" / "reference"
    for path, rows in (("plan.csv", table), ("plan_curves.csv", success_of(curve))):
        write_csv(reference / path, [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")])
    draw(success_of(curve), reference / "plan.png")
    print(table.to_string(index=False))
    cells = [[f"{v:g}" if isinstance(v, float) else str(v) for v in row] for row in table.to_numpy()]
    fill_tables(args.out, {"plan": markdown([str(c) for c in table], cells)})


def simulated(setting: str, seed: int) -> World:
    """One of `PROMPTS`: logit P = prompt + interaction + difficulty + what no text tells."""
    rng = np.random.default_rng([seed, 77])
    n, k = 2 * QUESTIONS, PROMPTS[setting]
    x = rng.standard_normal((n, AXES)) * np.arange(1, AXES + 1) ** -0.5
    kind = rng.integers(0, 4, n)
    if setting in ("groups", "poor"):
        x += (rng.standard_normal((4, AXES)) * np.arange(1, AXES + 1) ** -0.5 * 1.5)[kind]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    b, m = np.zeros(k), np.zeros((n, k))
    if setting == "groups":
        m[:, :4] = 1.6 * (kind[:, None] == np.arange(4))
    if setting == "smooth":
        m = np.column_stack([_standard(x @ rng.standard_normal(AXES)) for _ in range(k)])
    if setting == "dominating":
        b[:] = -0.8
        b[rng.integers(k)] = 0.4
    if setting == "poor":
        good = rng.permutation(k)[:4]
        b = -1.5 + 0.5 * rng.standard_normal(k)
        b[good] = 0
        m[:, good] = 1.4 * (kind[:, None] == np.arange(4))
    d = (_standard(x @ rng.standard_normal(AXES)) + rng.standard_normal(n)) / np.sqrt(2)
    truth = sigmoid(b + m + d[:, None] + 0.4 * rng.standard_normal((n, k)))
    answers = (rng.random((n, k)) < truth).astype(float)
    features = QuestionFeatures(0).fit(x[:QUESTIONS], AXES)
    phi = features(x).astype(np.float32)
    part = slice(QUESTIONS), slice(QUESTIONS, None)
    return World(phi[part[0]], answers[part[0]], np.arange(QUESTIONS), phi[part[1]], truth[part[1]])


@cache
def arith() -> World:
    """The tiny model's log; truth is the mean of its two answers to each test question and prompt."""
    log = pd.read_parquet(require(Paths().committed_log("nano", "arith"), "run make nano-log"))
    of = {
        split: log[log.split == split].pivot_table(index="question", columns="prompt", values="correct")
        for split in ("train", "test")
    }
    embedder, texts = load_embedder("minilm", 0), {split: list(table.index) for split, table in of.items()}
    vectors = {split: embedder.encode(t) for split, t in texts.items()}
    x = {s: np.concatenate([vectors[s], surface_features(t)], 1) for s, t in texts.items()}
    features = QuestionFeatures(0).fit(x["train"], vectors["train"].shape[1])
    truth = of["test"][of["train"].columns].to_numpy()
    phi = features(x["train"]).astype(np.float32)
    return World(phi, of["train"].to_numpy(), cluster_texts(texts["train"]), features(x["test"]), truth)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def curves(setting: str, seed: int, diagnosed: bool) -> list[dict[str, Any]]:
    """What each policy's log is worth at each checkpoint."""
    rows = []
    with threadpool_limits(1):
        world = arith() if setting == "arith" else simulated(setting, seed)
        checkpoints = np.geomspace(FIRST, world.answers.size, CHECKPOINTS).astype(int)
        everything = np.ones(world.answers.shape)
        full = value_of(world, everything), verdict_of(world, everything) if diagnosed else ""
        for name in POLICIES:
            counts, rng = np.zeros(world.answers.shape), np.random.default_rng([seed, 5])
            for place, calls in enumerate(checkpoints):
                labels = np.where(counts > 0, world.answers, np.nan)
                known = Known(labels, counts.copy(), lambda: world.clusters, lambda: world.phi)
                for ask in getattr(policies, name)(known, calls - int(counts.sum()), rng):
                    assert not counts[ask.question, ask.prompt]
                    counts[ask.question, ask.prompt] = 1
                last = place == CHECKPOINTS - 1
                judged = name != "best" and diagnosed and place % 4 == 3 and not last
                rows.append(
                    {
                        "setting": setting,
                        "policy": name,
                        "seed": seed,
                        "calls": int(calls),
                        "success": value_of(world, counts),
                        "verdict": verdict_of(world, counts) if judged else full[1] if last else "",
                        "full": full[0],
                        "full_verdict": full[1],
                        "best_prompt": world.truth.mean(0).max(),
                        "any_prompt": world.truth.mean(),
                    }
                )
    return rows


def value_of(world: World, counts: np.ndarray) -> float:
    """True success of the picks on held-out questions, learned from the known cells."""
    rows, train = known_cells(world, counts).training_set()
    effects = learn_effects(train.questions, Cells.of(train))
    picks = (effects.b + world.held_out @ effects.interaction).argmax(1)
    return float(world.truth[np.arange(len(picks)), picks].mean())


def verdict_of(world: World, counts: np.ndarray) -> str:
    """The verdict of diagnose."""
    _, train = known_cells(world, counts).training_set()
    found = study(train.questions, train)
    if found.gain is None:
        return "not enough data"
    return decide_verdict(found, len(set(np.asarray(train.clusters).tolist()))).word


def known_cells(world: World, counts: np.ndarray) -> Known:
    """What was asked so far."""
    labels = np.where(counts > 0, world.answers, np.nan)
    return Known(labels, counts, lambda: world.clusters, lambda: world.phi)


def calls_needed(curve: pd.DataFrame) -> pd.DataFrame:
    """Calls to 90 % of the full log's gain and to its verdict, medians over seeds, beside uniform asking."""
    rows = []
    for setting in dict.fromkeys(curve.setting):
        here = curve[curve.setting == setting]
        ends = here.drop_duplicates("seed")
        gain = float((ends.full - ends.best_prompt).mean())
        over = "best_prompt" if gain > 0.01 else "any_prompt"
        by_policy = {}
        for policy in POLICIES:
            runs = [run for _, run in here[here.policy == policy].groupby("seed")]
            needed = [
                calls_to(run.calls, run.success, run[over] + SHARE * (run.full - run[over])) for run in runs
            ]
            settled, wrong = [], []
            for run in (run[run.verdict != ""] for run in runs if (run.verdict != "").any()):
                same = (run.verdict == run.full_verdict).astype(float)
                settled.append(calls_to(run.calls, same, same * 0 + 1))
                wrong += (run.verdict.iloc[:-1] == "worth it").tolist()
            by_policy[policy] = np.median(needed), np.median(settled or [np.nan]), np.mean(wrong or [np.nan])
        for policy, (needed_calls, verdict_calls, worth_it) in by_policy.items():
            base = by_policy["uniform"]
            judged, pays = policy != "best" and verdict_calls == verdict_calls, setting != "alike"
            rows.append(
                {
                    "setting": setting,
                    "policy": policy,
                    "logs": len(ends),
                    "gain, points": round(100 * gain, 1),
                    "gain over": "the best prompt" if gain > 0.01 else "any prompt" if pays else "",
                    "calls to 90 % of it": int(needed_calls) if pays else "",
                    "times fewer": round(base[0] / needed_calls, 1) if pays else "",
                    "verdict of all": next(iter(ends.full_verdict[ends.full_verdict != ""].mode()), ""),
                    "calls to that verdict": int(verdict_calls) if judged else "",
                    "times fewer, verdict": round(base[1] / verdict_calls, 1) if judged else "",
                    "diagnosed": int((ends.full_verdict != "").sum()),
                    "says worth it": f"{worth_it:.0%}" if judged else "",
                }
            )
    return pd.DataFrame(rows)


def calls_to(calls: pd.Series[Any], reached: pd.Series[Any], target: pd.Series[Any]) -> float:
    """Calls from which a curve stays at its target, between two checkpoints by interpolation."""
    short = np.flatnonzero((reached - target).to_numpy() < 0)
    x, gap = np.log(calls.to_numpy()), (reached - target).to_numpy()
    if not len(short):
        return float(calls.iloc[0])
    i = min(short[-1], len(x) - 2)
    part = np.clip(-gap[i] / max(gap[i + 1] - gap[i], 1e-9), 0, 1)
    return float(np.exp(x[i] + part * (x[i + 1] - x[i])))


def success_of(curve: pd.DataFrame) -> pd.DataFrame:
    """Success of each policy at each checkpoint, mean over the logs."""
    return curve.groupby(["setting", "policy", "calls"], sort=False).success.mean().round(5).reset_index()


def draw(success: pd.DataFrame, path: Path) -> None:
    """A curve of held-out success against calls per policy, one panel per setting."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(success.setting))
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = np.ravel(figure.subplots(2, (len(names) + 1) // 2, squeeze=False))
    for axes, setting in zip(panels, names):
        for policy, colour in POLICIES.items():
            line = success[(success.setting == setting) & (success.policy == policy)]
            axes.plot(line.calls, line.success, color=colour, label=policy)
        axes.set(xscale="log", title=f"{setting}:\n{SETTINGS[setting]}", xlabel="calls")
        axes.title.set_fontsize(7.5)
        style_axes(axes, "y")
    panels[0].set_ylabel("success on new questions")
    panels[0].legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    run_step(main, Args)
