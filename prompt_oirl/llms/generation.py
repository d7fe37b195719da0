"""Making an interaction log: which answers are still owed, sharing them out, asking and appending (step 1).

Work is shared out by an item's place in the full list, never by what is left, so a run may be resumed with any
number of ranks. Rows are flushed after each batch. The files are those of `log_files.py`.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompt_oirl import grading
from prompt_oirl.data.interactions import Interaction
from prompt_oirl.data.log_store import Key, cut_torn_line
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM, Generation, item_seed
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.chat import conversation

HOPELESS = 24  # failures without a single answer after which a run gives up


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn. Rows of different decodings never share a log."""

    temperature: float = 0.6
    top_p: float = 0.9
    max_new_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0 and 0 < self.top_p <= 1):
            raise InputError(
                f"temperature {self.temperature} and top_p {self.top_p}: give 0 or more, and above 0 up to 1"
            )
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"--max_gen_len {self.max_new_tokens}: give 1 or more")

    @classmethod
    def of(cls, row: Interaction) -> Decoding:
        """How a logged answer was drawn; what the row leaves open counts as greedy, no nucleus, seed 0."""
        top_p = 1.0 if row.top_p is None else row.top_p
        return cls(row.temperature or 0.0, top_p, row.max_new_tokens, row.seed or 0)


@dataclass(frozen=True)
class Item:
    """One answer that is owed."""

    question: Question
    prompt: Prompt
    sample: int

    @property
    def key(self) -> Key:
        return (self.question.id, self.prompt.id, self.sample)


def all_items(questions: Sequence[Question], prompts: Sequence[Prompt], samples: int) -> list[Item]:
    """Every (question, prompt, sample); prompts that are not for training are not asked on training questions."""
    return [
        Item(question, prompt, sample)
        for prompt in prompts
        for question in questions
        if question.split != "train" or prompt.role == "train"
        for sample in range(samples)
    ]


def check_log(
    rows: Sequence[Interaction], decoding: Decoding, grader: str, items: Iterable[Item], where: Path
) -> None:
    """Refuse to add to a log of another decoding or grader, or one that knows a question or prompt otherwise."""
    questions = {item.question.id: item.question for item in items}
    prompts = {item.prompt.id: item.prompt for item in items}
    for row in rows:
        found = Decoding.of(row)
        if (found, row.grader) != (decoding, grader):
            raise InputError(
                f"{where} holds answers drawn with {asdict(found)} and graded by {row.grader}, not with {asdict(decoding)} "
                f"and {grader}: give the new run another --llm name"
            )
        question, prompt = questions.get(row.question_id), prompts.get(row.prompt_id)
        if question and (question.text, question.gold, question.split) != (row.question, row.gold, row.split):
            raise InputError(
                f"{where}: question {row.question_id} has another text, gold or split there; give changed questions another id"
            )
        if prompt and (prompt.text, prompt.position) != (row.prompt, row.position):
            raise InputError(
                f"{where}: prompt {row.prompt_id} has another text or position there; give changed prompts another id"
            )


def answer_items(
    items: Sequence[Item],
    llm: LLM,
    llm_name: str,
    dataset: str,
    decoding: Decoding,
    grader: str,
    separator: str,
    budget: Budget,
    part: Path,
    progress: Any,
    on_row: Callable[[Interaction], None] = lambda row: None,
) -> Counter[str]:
    """Ask for every item, batch by batch, appending rows to `part`; returns why answers could not be had, counted.

    Items are asked prompt by prompt, longest questions first: a batch then holds questions of about one length, and
    answers too. Stops cleanly when the budget is spent, and when nothing but failures comes back. `on_row` is handed
    every row as well.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    cut_torn_line(part)
    owed = sorted(items, key=lambda item: (item.prompt.id, -len(item.question.text), item.key))
    failures: Counter[str] = Counter()
    right, done, at = 0.0, 0, 0
    started = time.monotonic()
    with part.open("a", encoding="utf-8", newline="\n") as file:
        while at < len(owed):
            batch = owed[at : at + llm.batch_size]
            tokens_in = sum(len(i.question.text) + len(i.prompt.text) for i in batch) / 4 / len(batch)
            tokens_out = (
                budget.tokens_out / budget.calls if budget.calls else float(decoding.max_new_tokens or 256)
            )
            batch = batch[: budget.calls_left(len(batch), tokens_in, tokens_out)]
            if not batch:
                progress.write(f"stopped by {budget.why_stopped()}: {len(owed) - at} answers are still owed")
                break
            asked = time.monotonic()
            answers = llm.generate(
                [conversation(i.question.text, i.prompt, separator) for i in batch],
                max_new_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seeds=[
                    item_seed(
                        decoding.seed, llm_name, i.question.text, i.prompt.text, i.prompt.position, i.sample
                    )
                    for i in batch
                ],
            )
            seconds = (time.monotonic() - asked) / len(batch)
            for item, answer in zip(batch, answers):
                if answer.finish_reason == "error":  # not logged, so the next run asks again
                    failures[answer.text] += 1
                    budget.spend_for_nothing()
                    continue
                row = log_row(
                    item, answer, llm_name, dataset, decoding, grader, budget.spend(answer), seconds
                )
                right, done = right + row.correct, done + 1
                file.write(json.dumps(asdict(row), ensure_ascii=True) + "\n")
                on_row(row)
            file.flush()
            at += len(batch)
            rate = budget.tokens_out / max(time.monotonic() - started, 1e-9)
            progress.set_postfix_str(
                f"{rate:,.0f} tokens/s, {right / max(done, 1):.1%} right, {failures.total()} failed"
            )
            progress.update(len(batch))
            if not done and failures.total() >= HOPELESS:
                break
    return failures


def log_row(
    item: Item,
    answer: Generation,
    llm: str,
    dataset: str,
    decoding: Decoding,
    grader: str,
    cost: float,
    seconds: float,
) -> Interaction:
    """One answered item as a log row, graded by `strict`, by `original` and by the grader in charge."""
    question, prompt = item.question, item.prompt
    verdicts = {
        name: float(grading.verdict(name, answer.text, question.gold, question.kind, question.text))
        for name in {"original", "strict", grader}
    }
    return Interaction(
        llm=llm,
        dataset=dataset,
        split=question.split,
        question_id=question.id,
        question=question.text,
        gold=question.gold,
        prompt_id=prompt.id,
        prompt=prompt.text,
        position=prompt.position,
        group=question.group,
        correct=verdicts[grader],
        correct_original=verdicts["original"],
        correct_strict=verdicts["strict"],
        grader=grader,
        sample=item.sample,
        answer=answer.text,
        finish_reason=answer.finish_reason,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        max_new_tokens=decoding.max_new_tokens,
        seed=decoding.seed,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=round(cost, 9),
        time=round(seconds, 4),
    )


def check_complete(failures: Counter[str]) -> None:
    """Say in one line what could not be had and why."""
    if failures:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in failures.most_common(5))
        raise InputError(
            f"{failures.total():,} answers could not be had and are still owed: {reasons}; run the same command again"
        )
