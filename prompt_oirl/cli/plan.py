"""`prompt-oirl plan`: which questions to ask with which prompts next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from prompt_oirl.cli.options import EmbedOptions
from prompt_oirl.cli.output import say
from prompt_oirl.io.files import InputError


@dataclass(kw_only=True)
class Plan(EmbedOptions):
    """Say which questions to ask with which prompts next, for the most gain per call; step 1 asks them.

    examples: prompt-oirl plan log.csv --budget 200 --out plan.jsonl
              prompt-oirl plan --questions questions.csv --prompts prompts.csv --budget 200 --out plan.jsonl
    """

    log: tyro.conf.Positional[tuple[str, ...]] = ()
    """What is known so far: one file or several; none at the start."""
    budget: int
    """How many answers to ask for."""
    out: Path
    """The plan: .jsonl, .csv or .parquet, a row per answer; `--plan` of step 1 takes it."""
    policy: Literal["interaction", "best", "uniform", "repeats"] = "interaction"
    """interaction: prompts that may be the best one of a question, where that is most open; best: only which
    prompt is best overall, by halving; uniform: at random; repeats: known cells again, to see how random
    answers are."""
    questions: str | None = None
    """Further questions: CSV or JSONL with a column question, or text with one a line."""
    prompts: Path | None = None
    """Further prompts: a CSV as of step 1 (columns prompt_id, role, position, text)."""

    def run(self) -> None:
        """Write a plan."""
        from prompt_oirl.data.prompts import load_prompts
        from prompt_oirl.io.table_output import check_table_output, write_table
        from prompt_oirl.io.tables import read_text_table, texts
        from prompt_oirl.planning import policies
        from prompt_oirl.planning.log_to_grow import log_to_grow
        from prompt_oirl.planning.plan import make_plan

        inputs = [*self.log, *filter(None, (self.questions, self.prompts))]
        check_table_output(self.out, [str(path) for path in inputs])
        log = self.read(self.log) if self.log else None
        if log is not None and log.objection:
            raise InputError(log.objection)
        new: list[str] = []
        if self.questions is not None:
            asked = read_text_table(self.questions, "question", lines=True)
            new = texts(asked, "question", f"{self.questions}:")
        prompts = [] if self.prompts is None else [p for p in load_prompts(self.prompts) if p.role == "train"]
        grown = log_to_grow(log, new, prompts)
        plan = make_plan(grown, getattr(policies, self.policy), self.budget, self.embedder, self.seed)
        write_table(self.out, plan)
        if len(plan) < self.budget:
            say(f"note: only {len(plan):,} cells were left to ask, all of them are in the plan")
        cells = f"{plan.question.nunique():,} questions and {plan.prompt.nunique()} prompts"
        say(f"{len(plan):,} answers to ask for, of {cells}: {self.out}; step 1 asks them with --plan")
