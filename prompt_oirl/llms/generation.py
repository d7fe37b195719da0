"""Making an interaction log (step 1): which answers are pending, asking for them, grading and appending.

Work is shared out by a question's place in the full list, never by what is left, so a run may be resumed with
any number of ranks. Rows are flushed after each batch. The files are those of `data/log_store.py`.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import Key, cut_torn_line
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM, Decoding, Generation, item_seed
from prompt_oirl.llms.budget import Budget, ask
from prompt_oirl.llms.chat import conversation

MAX_FAILURES = 24  # without a single answer; then a run gives up


@dataclass(frozen=True)
class LogSettings:
    """What all rows of a log have in common.

    Parameters
    ----------
    llm, dataset : names of the log
    grader : whose verdict is `correct`
    separator : stands between a question and a prompt that follows it
    """

    llm: str
    dataset: str
    decoding: Decoding
    grader: str
    separator: str


@dataclass(frozen=True)
class Item:
    """One answer to ask for; `sample` counts the answers to one question and prompt from 0."""

    question: Question
    prompt: Prompt
    sample: int

    @property
    def key(self) -> Key:
        """What names the answer in a log."""
        return (self.question.id, self.prompt.id, self.sample)

    def seed(self, settings: LogSettings) -> int:
        """Seed of the sampling noise of this answer."""
        question, prompt = self.question, self.prompt
        seed = settings.decoding.seed
        return item_seed(seed, settings.llm, question.text, prompt.text, prompt.position, self.sample)


def all_items(questions: Sequence[Question], prompts: Sequence[Prompt], samples: int) -> list[Item]:
    """Every (question, prompt, sample); only prompts of role train are asked on training questions.

    Parameters
    ----------
    questions, prompts : what to ask, and under which instructions
    samples : answers to each question under each prompt

    Returns: the items prompt by prompt, then question by question.
    """
    return [
        Item(question, prompt, sample)
        for prompt in prompts
        for question in questions
        if question.split != "train" or prompt.role == "train"
        for sample in range(samples)
    ]


def check_log(rows: Iterable[LogRow], settings: LogSettings, items: Iterable[Item], where: Path) -> None:
    """Refuse to extend a log of another decoding or grader, or with other questions or prompts.

    Parameters
    ----------
    rows : what the log holds
    settings : of the answers that are to join them
    items : what is to be asked; a question or prompt must be the logged one if it has its id
    where : file of the log, which complaints name

    Raises: InputError at the first row that differs.
    """
    questions = {item.question.id: item.question for item in items}
    prompts = {item.prompt.id: item.prompt for item in items}
    wanted = settings.decoding, settings.grader
    for row in rows:
        found = Decoding.of(row)
        if (found, row.grader) != wanted:
            raise InputError(
                f"{where} holds answers drawn with {asdict(found)} and graded by {row.grader}, not with "
                f"{asdict(settings.decoding)} and {settings.grader}: give the new run another --llm name"
            )
        question, prompt = questions.get(row.question_id), prompts.get(row.prompt_id)
        if question and (question.text, question.gold, question.split) != (row.question, row.gold, row.split):
            raise InputError(
                f"{where}: question {row.question_id} has another text, gold or split there; give changed "
                "questions another id"
            )
        if prompt and (prompt.text, prompt.position) != (row.prompt, row.position):
            raise InputError(
                f"{where}: prompt {row.prompt_id} has another text or position there; give changed prompts "
                "another id"
            )


def answer_items(
    items: Sequence[Item],
    llm: LLM,
    settings: LogSettings,
    budget: Budget,
    part: Path,
    on_row: Callable[[LogRow], None] = lambda row: None,
    **bar: Any,
) -> Counter[str]:
    """Ask for every item, batch by batch, appending rows to a part file of the log.

    Items that start alike are asked together, for a model then reads the start once: question by question,
    and prompt by prompt where the prompt stands first. Longest questions go first. Stops cleanly when the
    budget is spent, and when nothing but failures comes back. What the server refuses for good, of one
    question, is a blank row with the reason.

    Parameters
    ----------
    part : file that rows are appended to after each batch; made if it is missing
    on_row : is handed every row as well
    bar : settings of the progress bar (tqdm)

    Returns: why answers could not be had, counted.
    Raises: InputError if the server refuses everything; the rows so far are written.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    cut_torn_line(part)
    pending = deque(sorted(items, key=asking_order))
    failures: Counter[str] = Counter()
    right, done = 0.0, 0
    started = time.monotonic()
    with (
        part.open("a", encoding="utf-8", newline="\n") as file,
        tqdm(total=len(pending), **{"disable": None, **bar}) as progress,
    ):
        while pending:
            batch = [pending.popleft() for _ in range(min(llm.batch_size, len(pending)))]
            asked = time.monotonic()
            answers = ask(
                llm,
                [conversation(item.question.text, item.prompt, settings.separator) for item in batch],
                budget,
                decoding=settings.decoding,
                seeds=[item.seed(settings) for item in batch],
            )
            got = [(item, answer) for item, answer in zip(batch, answers) if answer]
            pending.extendleft(item for item, answer in zip(batch[::-1], answers[::-1]) if not answer)
            seconds = (time.monotonic() - asked) / max(len(got), 1)
            for item, answer in got:
                if answer.finish_reason in ("error", "fatal"):  # not logged, so the next run asks again
                    failures[answer.text] += 1
                    continue
                cost = budget.cost(answer.tokens_in, answer.tokens_out)
                row = log_row(item, answer, settings, cost, seconds)
                right, done = right + row.correct, done + 1
                file.write(json.dumps(asdict(row), ensure_ascii=True) + "\n")
                on_row(row)
            file.flush()
            if refused := [answer.text for _, answer in got if answer.finish_reason == "fatal"]:
                raise InputError(refused[0])
            if not got:
                progress.write(f"stopped by {budget.why_stopped()}: {len(pending)} answers are still missing")
                break
            rate = budget.tokens_out / max(time.monotonic() - started, 1e-9)
            progress.set_postfix_str(
                f"{rate:,.0f} tokens/s, {right / max(done, 1):.1%} right, {failures.total()} failed"
            )
            progress.update(len(got))
            if not done and failures.total() >= MAX_FAILURES:
                break
    return failures


def asking_order(item: Item) -> tuple[Any, ...]:
    """Items that start alike stand together, longest questions first."""
    first = item.prompt.id if item.prompt.position in ("system", "before") else ""
    return (first, -len(item.question.text), item.key)


def log_row(item: Item, answer: Generation, settings: LogSettings, cost: float, seconds: float) -> LogRow:
    """One answered item as a log row, graded by `strict`, by `original` and by the grader of the log.

    Parameters
    ----------
    cost : of this answer, dollars
    seconds : that it took, its share of the batch
    """
    question, prompt, grader = item.question, item.prompt, settings.grader
    verdicts = {
        name: float(grading.verdict(name, answer.text, question.gold, question.kind, question.text))
        for name in {"original", "strict", grader}
    }
    return LogRow(
        llm=settings.llm,
        dataset=settings.dataset,
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
        refusal=answer.refusal,
        **asdict(settings.decoding),
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost=round(cost, 9),
        time=round(seconds, 4),
    )


def estimate(
    pending: Sequence[Item],
    logged: Sequence[LogRow],
    budget: Budget,
    max_new_tokens: int | None,
    in_flight: int,
) -> str:
    """What a run would ask for; answer length and speed are those of the log so far, where there is one.

    Parameters
    ----------
    pending : what is to be asked, taken at four characters a token
    logged : rows of the log so far
    budget : gives the prices
    max_new_tokens : length of an answer where nothing is logged; None counts as 256
    in_flight : answers that are asked for at a time

    Returns: one line of calls, tokens, dollars and minutes, and by how much a limit may be exceeded.
    """
    tokens_in = sum(len(i.question.text) + len(i.prompt.text) for i in pending) // 4
    known = [row for row in logged if row.tokens_out]
    per_answer, time_needed = float(max_new_tokens or 256), "time unknown before the first answers"
    if known:
        per_answer = sum(row.tokens_out or 0 for row in known) / len(known)
        seconds = sum(row.time or 0 for row in known) / len(known) * len(pending)
        time_needed = f"about {seconds / 60:,.0f} minutes of one process"
    tokens_out = round(per_answer * len(pending))
    tokens = f"about {tokens_in:,} tokens in and {tokens_out:,} out"
    longest = max((len(i.question.text) + len(i.prompt.text) for i in pending), default=0) / 4
    limit = budget.overdraft(min(in_flight, len(pending)), longest, max_new_tokens)
    line = f"{len(pending):,} calls, {tokens}, ${budget.cost(tokens_in, tokens_out):,.2f}, {time_needed}"
    return line + (f"; {limit}" if limit else "")


def check_complete(failures: Counter[str]) -> None:
    """Raise InputError that says what could not be had and why, if there were failures."""
    if failures:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in failures.most_common(5))
        raise InputError(
            f"{failures.total():,} answers could not be had and are still missing: {reasons}; run the same "
            "command again"
        )
