"""Making an interaction log (step 1): which answers are pending, asking for them, grading and appending.

Work is shared out by a question's place in the full list, never by what is left, so a run may be resumed with
any number of ranks. Rows are flushed as their answers come. The files are those of `data/log_store.py`.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import Key, cut_torn_line
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import LLM, Decoding, Generation, item_seed
from prompt_oirl.llms.budget import Answers, Budget, ask
from prompt_oirl.llms.chat import conversation

MAX_FAILURES = 24  # without an answer between them; then a run gives up
FIRST_REFUSALS = 8  # questions that are refused one by one at the start: then it may be the account


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
    question, is a blank row with the reason; where it is all that comes at first, the shortest question
    decides whether it is not the account that is refused.

    Parameters
    ----------
    part : file that rows are appended to as answers come; made if it is missing
    on_row : is handed every row as well
    bar : settings of the progress bar (tqdm)

    Returns: why answers could not be had, counted.
    Raises: InputError if the server refuses everything; the rows so far are written.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    cut_torn_line(part)
    pending = deque(sorted(items, key=asking_order))
    failures: Counter[str] = Counter()
    with (
        part.open("a", encoding="utf-8", newline="\n") as file,
        tqdm(total=len(pending), **{"disable": None, **bar}) as progress,
    ):
        rows, silent = _Rows(file, settings, budget, on_row, progress), 0
        while pending:
            if probing := len(rows.refused) >= FIRST_REFUSALS:
                batch = [min(pending, key=lambda item: len(item.question.text))]
                pending.remove(batch[0])
            else:
                batch = [pending.popleft() for _ in range(min(llm.batch_size, len(pending)))]
            before, held = rows.done, len(rows.refused)
            answers = ask(
                llm,
                [conversation(item.question.text, item.prompt, settings.separator) for item in batch],
                budget,
                decoding=settings.decoding,
                seeds=[item.seed(settings) for item in batch],
                on_answers=partial(rows.add, batch),
            )
            got = [answer for answer in answers if answer]
            pending.extendleft(item for item, answer in zip(batch[::-1], answers[::-1]) if not answer)
            if refused := [answer.text for answer in got if answer.finish_reason == "fatal"]:
                raise InputError(refused[0])
            if probing and len(rows.refused) > held:
                rows.check_refused()
            failed = [answer.text for answer in got if answer.finish_reason == "error"]
            failures.update(failed)  # not logged, so the next run asks again
            progress.update(len(failed))
            if not got:
                progress.write(f"stopped by {budget.why_stopped()}: {len(pending)} answers are still missing")
                break
            silent = silent + len(failed) if rows.done == before else 0
            if silent >= MAX_FAILURES or not budget.calls:  # or no server was reached
                break
        rows.write_refused()
    return failures


class _Rows:
    """The rows of a run, each written as its answer comes.

    Questions that are refused before any is answered are held back in `refused`: it may be the account that
    is refused, and then they have no rows.
    """

    def __init__(
        self,
        file: IO[str],
        settings: LogSettings,
        budget: Budget,
        on_row: Callable[[LogRow], None],
        progress: Any,
    ):
        self._file, self._settings, self._budget = file, settings, budget
        self._on_row, self._progress = on_row, progress
        self.refused: list[tuple[Item, Generation, float]] = []
        self.done, self._right = 0, 0.0
        self._started = self._last = time.monotonic()

    def add(self, batch: Sequence[Item], came: Answers) -> None:
        """Write the answers to some items of a batch; they share the time since the last ones."""
        now = time.monotonic()
        seconds, self._last = (now - self._last) / max(len(came), 1), now
        for place, answer in came:
            unpaid = not answer.tokens_in + answer.tokens_out
            if answer.finish_reason in ("error", "fatal"):
                continue
            if not self.done and unpaid and answer.finish_reason in ("content_filter", "context_length"):
                self.refused.append((batch[place], answer, seconds))
                continue
            self.write_refused()
            self._write(batch[place], answer, seconds)
        self._file.flush()

    def write_refused(self) -> None:
        """Write what was held back."""
        for held in self.refused:
            self._write(*held)
        self.refused.clear()

    def check_refused(self) -> None:
        """Raise InputError if all that came so far are refusals for the same reason."""
        reasons = {answer.finish_reason for _, answer, _ in self.refused}
        if len(reasons) == 1:
            raise InputError(
                f"the first {len(self.refused) - 1} questions and the shortest were all refused "
                f"({reasons.pop()}): {self.refused[-1][1].refusal}; check the account, --model, "
                "--base_url and --max_gen_len, then run the same command again (nothing was written)"
            )

    def _write(self, item: Item, answer: Generation, seconds: float) -> None:
        cost = self._budget.cost(answer.tokens_in, answer.tokens_out)
        row = log_row(item, answer, self._settings, cost, seconds)
        self._file.write(json.dumps(asdict(row), ensure_ascii=True) + "\n")
        self._right, self.done = self._right + row.correct, self.done + 1
        rate = self._budget.tokens_out / max(time.monotonic() - self._started, 1e-9)
        self._progress.set_postfix_str(
            f"{rate:,.0f} tokens/s, {self._right / self.done:.1%} right", refresh=False
        )
        self._progress.update()
        self._on_row(row)


def asking_order(item: Item) -> tuple[Any, ...]:
    """Items that start alike stand together, longest questions first."""
    first = item.prompt.id if item.prompt.position in ("system", "before") else ""
    return (first, -len(item.question.text), item.key)


def log_row(item: Item, answer: Generation, settings: LogSettings, cost: float, seconds: float) -> LogRow:
    """One answered item as a log row, graded by `strict`, by `original` and by the grader of the log.

    Parameters
    ----------
    cost : of this answer, dollars
    seconds : that it took, or its share of what came together
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


def check_complete(failures: Counter[str]) -> None:
    """Raise InputError that says what could not be had and why, if there were failures."""
    if failures:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in failures.most_common(5))
        raise InputError(
            f"{failures.total():,} answers could not be had and are still missing: {reasons}; run the same "
            "command again"
        )
