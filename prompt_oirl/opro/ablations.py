"""Ablations of OPRO (Section 5.3): what each setting of the loop is worth at equal scorer calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.opro.loop import LoopSettings, Run, optimise
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.options import SearchOptions
from prompt_oirl.opro.predicting_scorers import load_scorer
from prompt_oirl.opro.prompt_rewards import PromptRewards, TextVectors
from prompt_oirl.opro.scorers import LLMScorer
from prompt_oirl.opro.search_proposer import SMALL
from prompt_oirl.opro.shared_log import Spending
from prompt_oirl.opro.tasks import Parts, QuestionTask

DEFAULT = "default"
INITIAL = "Let's solve the problem."
QUARTER_FINALISTS = 4
POOL = 64  # instructions that a hybrid run proposes per step


@dataclass(frozen=True)
class Arm:
    """One setting of the loop: each field overrides a default; `quarter` takes a quarter of the scorer
    calls."""

    name: str
    loop: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    score_by: str = "llm"
    quarter: bool = False

    def loop_settings(self, base: LoopSettings, instructions: int, calls: tuple[int, int]) -> LoopSettings:
        """The loop's settings for `instructions` scored ones besides the initial one.

        Parameters
        ----------
        base : settings of the loop; the arm's own replace them
        instructions : so many are scored, the initial one not counted
        calls : numbers of train and of validation questions: what one instruction costs on each part

        Returns: settings with `max_scored` and `steps` filled in. A `quarter` arm scores what a quarter of
        the calls on both parts is enough for, but at least two instructions, and has QUARTER_FINALISTS
        finalists.
        """
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
                    f"--{group}.{name} {getattr(given, name)}: the arms of step 4 set it themselves; "
                    "leave it out and choose --arms"
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


@dataclass
class Ablation:
    """What all runs of step 4 have in common; `asked` counts the answers that were asked for.

    `instructions` is the number that every arm scores besides the initial one; proposals are kept in
    `folder`.
    """

    options: SearchOptions
    task: QuestionTask
    parts: Parts
    parts_seed: int
    instructions: int
    initial: str
    vectors: TextVectors
    scorer: LLMScorer
    folder: Path
    asked: int = 0

    def __post_init__(self) -> None:
        self._make_proposer = self.options.proposers(SMALL)

    def run_arm(self, arm: Arm, seed: int) -> tuple[Run, int]:
        """One arm with one seed, and the scorer calls of its search; `stopped` tells when a budget is
        spent."""
        sizes = len(self.parts.train), len(self.parts.validation)
        options = self.options
        loop = arm.loop_settings(options.loop, self.instructions, sizes)
        meta = replace(options.meta, **arm.meta)
        initial = self.initial if arm.initial is None else arm.initial
        settings = [str(loop), str(meta), str(options.reward), initial, sizes, self.parts_seed]
        spending = Spending(None)
        measure = self.scorer.with_spending(spending)
        rewards = PromptRewards(options.reward, self.vectors, seed)
        scorer = load_scorer(arm.score_by, measure, rewards, [], "", self.task, self.parts, seed)
        proposals = self.folder / "proposals" / f"{content_key(settings)[:8]}.seed{seed}.jsonl"
        proposer = self._make_proposer(
            proposals, seed, options.optimizer_budget.budget(prefix="optimizer_budget.")
        )
        run = Run(self.task, self.parts, loop, meta, "after", (initial,), proposer, scorer, measure, seed)
        optimise(run)
        self.asked += spending.total("asked")
        calls = sum(row.needed for row in spending.rows.values() if row.part != "test")
        return run, calls
