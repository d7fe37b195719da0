"""Before anything is asked: whether new answers may join a log, and what they would cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Decoding
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.generation import Item, LogSettings


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
