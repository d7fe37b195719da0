"""What makes a log mislead though every row of it is fine: rendered prompts, variants of one text, blank
answers, copied verdicts. Each is told in one sentence before anything is concluded."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from prompt_oirl.importers.own_log import named_templates
from prompt_oirl.io.files import on_one_line

if TYPE_CHECKING:
    from prompt_oirl.data.prompt_log import PromptLog

MANY = 10  # prompts, and questions, from which on one question a prompt is no accident
NEARLY_ALL = 0.8  # of the prompts, asked one question each: nothing can be learned of them
SOME = 0.2  # of the prompts: told
SHORTEST = 4  # characters of a question that may be looked for in a prompt
MIN_ANSWERS = 5  # of a prompt of which mostly blank ones are told
MIN_SHARED, MIN_EITHER = (
    30,
    5,
)  # questions of two prompts with equal verdicts, and right and wrong ones among them
ADVICE = "prompt-oirl import log FILES --out log.parquet makes templates of prompts with questions in them"
MOST_PROMPTS = 50  # up to which pairs are compared: among an optimiser's hundreds some are equal by chance


def spelling(text: str) -> str:
    """Equal for texts that differ only in white space, line ends or Unicode form."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def first_variants(texts: Sequence[str]) -> list[str]:
    """Each text as the first one of the same `spelling`."""
    first: dict[str, str] = {}
    return [first.setdefault(spelling(text), text) for text in texts]


def said_of_variants(questions: Sequence[str], prompts: Sequence[str], merged: bool) -> list[str]:
    """A sentence if texts differ in their spelling only.

    Parameters
    ----------
    questions, prompts : as logged, distinct or not
    merged : whether they are taken as one
    """
    counts = [len(set(texts)) - len(set(map(spelling, set(texts)))) for texts in (questions, prompts)]
    if not any(counts):
        return []
    what = " and ".join(f"{n:,} {name}" for n, name in zip(counts, ("questions", "prompts")) if n)
    how = "are taken as that one." if merged else "count as different: --normalise takes them as one."
    return [f"{what} that differ from an earlier one only in white space, line ends or Unicode form {how}"]


def objection(log: PromptLog) -> str | None:
    """Why no selector can be learned from a log whatever its verdicts, and what to do; None if it can."""
    asked, contained = _asked_and_contained(log)
    n, single = len(log.prompts), asked == 1
    rendered = single & (contained == 1)
    if rendered.sum() >= 2 and _most(rendered, asked):
        return (
            f"{int(rendered.sum()):,} of {n:,} prompts contain the one question that they were asked: "
            f"they are rendered, and none fits another question; {ADVICE}"
        )
    prompt_of = dict(zip(log.question.tolist(), log.prompt.tolist()))
    one_prompt_each = all(prompt_of[i] == j for i, j in zip(log.question.tolist(), log.prompt.tolist()))
    if one_prompt_each and named_templates(
        [(log.questions[i], log.prompts[j]) for i, j in prompt_of.items()]
    ):
        return (
            "the questions of each prompt begin or end alike, and otherwise than those of others: they are "
            f"the texts sent, and the prompts only names of templates; {ADVICE}"
        )
    many = min(n, len(log.questions)) >= MANY
    if many and single.mean() >= NEARLY_ALL and _most(single, asked):
        return (
            f"{int(single.sum()):,} of {n:,} prompts were asked one question each, which tells nothing of "
            f"other questions; {ADVICE}, or ask each of them several questions"
        )
    return None


def _most(which: np.ndarray, asked: np.ndarray) -> bool:
    """Whether some prompts are at least half of all, and so are the questions that they were asked."""
    return bool(2 * which.sum() >= len(which) and 2 * asked[which].sum() >= asked.sum())


def remarks(log: PromptLog) -> list[str]:
    """Sentences on what may mislead, most serious first; what `objection` says is not among them."""
    asked, contained = _asked_and_contained(log)
    n, single, said = len(log.prompts), int((asked == 1).sum()), []
    if contained.any():
        rendered = int(((contained == 1) & (asked == 1)).sum())
        said.append(
            f"{int((contained > 0).sum()):,} of {n:,} prompts contain a question that they were asked (an "
            "example?): such answers say nothing of other questions"
            + (f"; {ADVICE}." if rendered > 1 else ".")
        )
    if log.propensity is not None and len(np.unique(log.propensity[~np.isnan(log.propensity)])) > 1:
        said.append(
            "a selector chose most prompts, so the cells that are missing are not so at random: of what is "
            "said of this log trust value, and take diagnose, evaluate and vote with care."
        )
    if min(n, len(log.questions)) >= MANY and single >= SOME * n:
        said.append(f"{single:,} of {n:,} prompts were asked one question each: little is known of these.")
    return [*said, *_blank(log), *_copies(log)]


def _asked_and_contained(log: PromptLog) -> tuple[np.ndarray, np.ndarray]:
    """How many questions each prompt was asked, and how many of these its text contains, int (prompts,)."""
    questions = [spelling(text) for text in log.questions]
    prompts = [spelling(text) for text in log.prompts]
    pairs = np.unique(np.stack([log.question, log.prompt]), axis=1)  # no table: rendered prompts are many
    contained = np.zeros(len(prompts), dtype=np.int64)
    for i, j in pairs.T.tolist():
        contained[j] += len(questions[i]) >= SHORTEST and questions[i] in prompts[j]
    return np.bincount(pairs[1], minlength=len(prompts)), contained


def _blank(log: PromptLog) -> list[str]:
    if not log.has_answers:
        return []
    blank = np.array([not (text or "").strip() for text in log.answer])
    served = np.zeros(len(blank), bool) if log.propensity is None else ~np.isnan(log.propensity)
    # A log without answers may be joined to a server's, which has them.
    of_log_with_answers = np.where(served, not blank[served].all(), not blank[~served].all())
    blank &= of_log_with_answers
    total = np.bincount(log.prompt[of_log_with_answers], minlength=len(log.prompts))
    empty = np.bincount(log.prompt[blank], minlength=len(log.prompts))
    found = np.flatnonzero((total >= MIN_ANSWERS) & (2 * empty > total))
    told = _few([f"{on_one_line(log.names[j])} ({empty[j]:,} of {total[j]:,})" for j in found])
    return [f"Most answers are blank of {told}: did the calls fail?"] if told else []


def _copies(log: PromptLog) -> list[str]:
    """Pairs of prompts whose verdicts are the same wherever both were asked."""
    if len(log.prompts) > MOST_PROMPTS:
        return []
    known = (log.counts > 0).astype(np.float64)
    labels = np.nan_to_num(log.labels)
    shared, right = known.T @ known, labels.T @ known  # right[i, j]: of prompt i, where j was asked too
    differing = (labels**2).T @ known - 2 * labels.T @ labels + known.T @ labels**2
    same = (differing < 1e-6) & (shared >= MIN_SHARED)
    same &= (right >= MIN_EITHER) & (shared - right >= MIN_EITHER)
    told = _few(
        [
            f"{on_one_line(log.names[i])} and {on_one_line(log.names[j])} ({int(shared[i, j]):,})"
            for i, j in zip(*np.nonzero(np.triu(same, 1)))
        ]
    )
    return [f"Equal verdicts on all questions that both were asked, as if copied: {told}."] if told else []


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
