"""Ablations of OPRO (Section 5.3): what each setting of the loop is worth at equal scorer calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.io.files import InputError, atomic_write
from prompt_oirl.opro.loop import LoopSettings, Run
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.stats.metrics import interval

DEFAULT = "default"
INITIAL = "Let's solve the problem."
QUARTER_FINALISTS = 4
EARLY = 40  # scored instructions after which the curves are mostly flat on easy tasks
POOL = 64  # instructions that a hybrid run proposes per step
COLUMNS = [
    "axis", "value", "arm", "seeds", "scored", "search_calls", "start_train", "best_train", "early", "early_ci_low", "early_ci_high", "start_test", "test", "test_ci_low",
    "test_ci_high", "over_default", "over_default_ci_low", "over_default_ci_high", "proposer", "scorer",
]  # fmt: skip
RUNS = ["arm", "seed", "scored", "search_calls", "start_train", "best_train", "winner_validation", "start_test", "test",
        "winner"]  # fmt: skip
HYBRID = ["comparison", "value", "ci90_low", "ci90_high", "seeds", "calls", "calls_other"]
CURVE = ["arm", "seed", "scored", "best_train"]


@dataclass(frozen=True)
class Arm:
    """One setting of the loop. `share` of the scorer calls; every other field overrides a default."""

    name: str
    loop: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    score_by: str = "llm"
    quarter: bool = False

    def loop_settings(self, base: LoopSettings, instructions: int, calls: tuple[int, int]) -> LoopSettings:
        """The loop's settings for `instructions` scored ones besides the initial one. `calls`: train and validation
        questions; a quarter of the calls counts both."""
        settings = replace(base, **self.loop)
        scored = instructions + 1
        if self.quarter:
            train, validation = calls
            all_calls = train * scored + validation * (base.finalists + 1)
            settings = replace(settings, finalists=QUARTER_FINALISTS)
            scored = max(2, (all_calls // 4 - validation * (QUARTER_FINALISTS + 1)) // train)
        # Duplicates cost no calls, so a run may take more steps; four times as many and it is stuck.
        steps = 1 if "steps" in self.loop else 4 * -(-instructions // settings.samples)
        return replace(settings, max_scored=scored, steps=steps)

    def meta_settings(self, base: MetaPromptSettings) -> MetaPromptSettings:
        return replace(base, **self.meta)


def arms(instructions: int) -> dict[str, Arm]:
    """Every distinct setting by name."""
    found = [Arm(DEFAULT)]
    found += [Arm(f"order={o}", meta={"order": o}) for o in ("descending", "random")]
    found += [Arm(f"buckets={b}", meta={"buckets": b}) for b in ("20", "hidden")]
    found += [
        Arm(f"buckets=hidden order={o}", meta={"buckets": "hidden", "order": o})
        for o in ("descending", "random")
    ]
    found += [Arm(f"exemplars={n}", meta={"exemplars": n}) for n in (0, 10)]
    found += [Arm(f"samples={n}", loop={"samples": n}) for n in (1, 2, 4, 16)]
    found += [Arm(f"start={s!r}", initial=s) for s in ("", "Let's think step by step.", "Answer at once.")]
    found += [Arm(f"temperature={t}", loop={"temperature": t}) for t in (0.0, 0.5, 1.5, 2.0)]
    found += [Arm("one step", loop={"steps": 1, "samples": 4 * instructions})]
    found += [
        Arm("quarter", quarter=True),
        Arm("hybrid", loop={"samples": POOL}, score_by="hybrid", quarter=True),
    ]
    return {arm.name: arm for arm in found}


def check_base(loop: LoopSettings, meta: MetaPromptSettings) -> None:
    """Refuse other values of what the arms set themselves: the tables' labels say what an arm has."""
    own = {
        "loop": ("steps", "samples", "temperature", "max_scored"),
        "meta": ("order", "buckets", "exemplars"),
    }
    for group, given, default in (("loop", loop, LoopSettings()), ("meta", meta, MetaPromptSettings())):
        for name in own[group]:
            if getattr(given, name) != getattr(default, name):
                raise InputError(
                    f"--{group}.{name} {getattr(given, name)}: the arms of step 4 set it themselves; leave it out and choose --arms"
                )


AXES: dict[str, dict[str, str]] = {
    "order": {"ascending": DEFAULT, "descending": "order=descending", "random": "order=random"},
    "order, scores hidden": {
        "ascending": "buckets=hidden",
        "descending": "buckets=hidden order=descending",
        "random": "buckets=hidden order=random",
    },
    "score buckets": {"100": DEFAULT, "20": "buckets=20", "hidden": "buckets=hidden"},
    "exemplars": {"0": "exemplars=0", "3": DEFAULT, "10": "exemplars=10"},
    "instructions per step": {
        **{str(n): f"samples={n}" for n in (1, 2, 4)},
        "8": DEFAULT,
        "16": "samples=16",
    },
    "start": {
        INITIAL: DEFAULT,
        **{s or "(empty)": f"start={s!r}" for s in ("", "Let's think step by step.", "Answer at once.")},
    },
    "optimizer temperature": {
        **{str(t): f"temperature={t}" for t in (0.0, 0.5)},
        "1.0": DEFAULT,
        **{str(t): f"temperature={t}" for t in (1.5, 2.0)},
    },
    "steps": {"one step": "one step", "many": DEFAULT},
    "scorer": {"all measured": DEFAULT, "all measured, quarter": "quarter", "hybrid, quarter": "hybrid"},
}


@dataclass(frozen=True)
class Outcome:
    """What one run of an arm gave; `test` and `start_test` hold a value per test question, float64 (n,)."""

    arm: str
    seed: int
    search_calls: int
    curve: list[float]
    winner: str
    winner_validation: float
    test: np.ndarray
    start_test: np.ndarray

    @classmethod
    def of(cls, run: Run, arm: str, search_calls: int) -> Outcome:
        in_order = sorted(
            (c for c in run.scored if c.train and c.scored_at is not None), key=lambda c: c.scored_at or 0
        )
        best = np.maximum.accumulate([c.train.mean for c in in_order if c.train])
        first, winner = run.candidates[0], run.winner
        assert winner and winner.prompt and winner.test and winner.validation and first.test
        return cls(
            arm, run.seed, search_calls, best.tolist(), winner.prompt.text, winner.validation.mean, winner.test.values,
            first.test.values,
        )  # fmt: skip

    @property
    def early(self) -> float:
        """Mean over the first EARLY scored instructions of the best train accuracy so far: how soon it was found."""
        shown = self.curve[1 : EARLY + 1] or self.curve
        return float(np.mean(shown + [shown[-1]] * (EARLY - len(shown))))

    def row(self) -> dict[str, Any]:
        return {
            "arm": self.arm, "seed": self.seed, "scored": len(self.curve), "search_calls": self.search_calls,
            "start_train": self.curve[0], "best_train": self.curve[-1], "winner_validation": self.winner_validation,
            "start_test": self.start_test.mean(), "test": self.test.mean(), "winner": self.winner,
        }  # fmt: skip


def mean_over_runs(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of one value per run with its 95 % interval over runs."""
    rng = np.random.default_rng(seed)
    draws = values[rng.integers(0, len(values), size=(2000, len(values)))].mean(1)
    low, high = interval(draws[:, None])
    return float(values.mean().round(12)), float(low[0].round(12)), float(high[0].round(12))


def mean_over_runs_and_groups(
    values: np.ndarray, clusters: np.ndarray, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values (runs, questions) with an interval that resamples runs and groups of questions, both."""
    _, group = np.unique(clusters, return_inverse=True)
    n_runs, n_groups = len(values), int(group.max()) + 1
    sums = np.zeros((n_runs, n_groups))
    np.add.at(sums.T, group, values.T)
    size = np.bincount(group)
    rng = np.random.default_rng(seed)
    of_runs = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=2000)
    of_groups = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=2000)
    draws = ((of_runs @ sums) * of_groups).sum(1) / n_runs / (of_groups @ size)
    low, high = interval(draws[:, None], level)
    return float(values.mean().round(12)), float(low[0].round(12)), float(high[0].round(12))


def table(
    outcomes: Sequence[Outcome], clusters: np.ndarray, proposer: str, scorer: str, initial: str = INITIAL
) -> Iterator[dict[str, Any]]:
    """One row per value of each axis, means over seeds; differences from the default are paired by seed and question."""
    by_arm = {name: [o for o in outcomes if o.arm == name] for name in {o.arm for o in outcomes}}
    for axis, values in AXES.items():
        for value, name in values.items():
            runs = by_arm.get(name, [])
            if not runs:
                continue
            row: dict[str, Any] = {
                "axis": axis, "value": label(value, initial), "arm": name, "seeds": len(runs), "proposer": proposer, "scorer": scorer,
                "scored": np.mean([len(o.curve) for o in runs]), "search_calls": np.mean([o.search_calls for o in runs]),
                "start_train": np.mean([o.curve[0] for o in runs]), "best_train": np.mean([o.curve[-1] for o in runs]),
                "start_test": np.mean([o.start_test.mean() for o in runs]),
            }  # fmt: skip
            row |= dict(
                zip(
                    ("early", "early_ci_low", "early_ci_high"),
                    mean_over_runs(np.array([o.early for o in runs])),
                )
            )
            row |= dict(
                zip(
                    ("test", "test_ci_low", "test_ci_high"),
                    mean_over_runs_and_groups(np.array([o.test for o in runs]), clusters),
                )
            )
            if name != DEFAULT and (difference := paired(by_arm, name, DEFAULT)) is not None:
                row |= dict(
                    zip(
                        ("over_default", "over_default_ci_low", "over_default_ci_high"),
                        mean_over_runs_and_groups(difference, clusters),
                    )
                )
            yield row


def label(value: str, initial: str) -> str:
    """A value of an axis as tables show it; the default start is the one that was given."""
    return (initial or "(empty)") if value == INITIAL else value


def paired(by_arm: dict[str, list[Outcome]], a: str, b: str) -> np.ndarray | None:
    """Test values of arm a minus those of b for the seeds that both have, (seeds, questions)."""
    of_b = {o.seed: o for o in by_arm.get(b, [])}
    rows = [o.test - of_b[o.seed].test for o in by_arm.get(a, []) if o.seed in of_b]
    return np.array(rows) if rows else None


def hybrid_rows(outcomes: Sequence[Outcome], clusters: np.ndarray) -> Iterator[dict[str, Any]]:
    """Test accuracy of the hybrid's winners against those of other arms, 90 % intervals; calls of the search, test not counted."""
    by_arm = {name: [o for o in outcomes if o.arm == name] for name in {o.arm for o in outcomes}}
    for other, said in ((DEFAULT, "all measured"), ("quarter", "all measured at as many calls")):
        difference = paired(by_arm, "hybrid", other)
        if difference is None:
            continue
        value, low, high = mean_over_runs_and_groups(difference, clusters, level=0.9)
        calls = [np.mean([o.search_calls for o in by_arm[name]]) for name in ("hybrid", other)]
        yield {
            "comparison": f"hybrid - {said}", "value": value, "ci90_low": low, "ci90_high": high,
            "seeds": len(difference), "calls": calls[0], "calls_other": calls[1],
        }  # fmt: skip


def curve_rows(outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
    """The best train accuracy after so many scored instructions, wherever it rises, and at the end."""
    for o in outcomes:
        for i, best in enumerate(o.curve):
            if i == 0 or best > o.curve[i - 1] or i == len(o.curve) - 1:
                yield {"arm": o.arm, "seed": o.seed, "scored": i + 1, "best_train": best}


def draw(outcomes: Sequence[Outcome], title: str, path: Path, initial: str = INITIAL) -> Path:
    """One panel per axis: best train accuracy against scored instructions, mean over seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    by_arm = {name: [o.curve for o in outcomes if o.arm == name] for name in {o.arm for o in outcomes}}
    axes_known = {a: v for a, v in AXES.items() if sum(name in by_arm for name in v.values()) > 1}
    columns = 3
    rows = max(1, -(-len(axes_known) // columns))
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel()
    for panel, (axis, values) in zip(panels, axes_known.items()):
        colours = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.9, len(values)))
        for (value, name), colour in zip(values.items(), colours):
            if name not in by_arm:
                continue
            longest = max(map(len, by_arm[name]))
            curves = np.array([[*c, *[c[-1]] * (longest - len(c))] for c in by_arm[name]])
            panel.plot(
                np.arange(1, longest + 1),
                100 * curves.mean(0),
                label=label(value, initial),
                color=colour,
                lw=1.4,
            )
        panel.set_title(axis, fontsize=10)
        panel.legend(fontsize=7, frameon=False, loc="lower right")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.25)
    for panel in panels[len(axes_known) :]:
        panel.set_visible(False)
    figure.supxlabel("Scored instructions", fontsize=10)
    figure.supylabel("Best train accuracy so far, %", fontsize=10)
    figure.suptitle(title, fontsize=11)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    return path
