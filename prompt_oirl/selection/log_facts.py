"""What a log holds, nothing learned yet: size, coverage, copies, overlap, cut answers, broken prompts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from prompt_oirl.data.near_duplicates import LETTERS
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import on_one_line
from prompt_oirl.selection.variance import oracle_where_repeated

MIN_GROUPS = 20  # different questions below which nothing about single ones is learned
MIN_WORDS = 8  # of an answer that may be called cut
MIN_STOPPING = 0.1  # of answers of several words that must end a sentence, before endings without are told
_WORDS = re.compile(LETTERS)
_STOPS = re.compile(r"[.!?…][\"'”’»)\]*_`]*(?:\s|$)|[。！？]")
_OPEN = (",", "，", "、", ";", "(", "（", "[", "-")
_CODE = re.compile(r"[={}\[\]<>_\\|`]|\w\(")
_PROSE = re.compile(r"[.,;:!?。，、；：！？]|\b(?:the|an?|of|and|to|in|is|are|we)\b", re.IGNORECASE)
_RESULT = re.compile(
    r"(?:\b(?:answer|result|choice|option|solution|conclusion)\b.{0,40}|[:=：]\s*\S*|是\S{0,6}|\b(?:is|are|was)\s+\S+"
    r"|\d\s*(?:[^\W\d]+\s?){1,2})$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DataFacts:
    """What the log holds. `coverage` is the share of cells asked; `broken_prompts` and `truncated` name
    prompts, and `texts` says what those read, as far as it is not their name."""

    rows: int
    questions: int
    prompts: int
    groups: int
    coverage: float
    answers_per_cell: float
    repeated_cells: int
    repeated_questions: int
    oracle_where_repeated: float
    duplicate_rows: int
    near_duplicate_questions: int
    counted_once: str
    test_questions_in_train: int
    test_groups_in_train: int
    broken_prompts: list[str]
    truncated: dict[str, float]
    texts: dict[str, str]
    success: dict[str, float]

    def lines(self) -> list[str]:
        """One sentence per fact, what needs attention last."""
        said = [
            f"{self.rows:,} answers: {self.questions:,} questions x {self.prompts} prompts, "
            f"{self.coverage:.0%} of the cells asked, "
            f"{self.answers_per_cell:.1f} answers per asked cell.",
            f"{self.groups:,} groups of near-duplicate questions; {self.near_duplicate_questions:,} "
            "questions are near-duplicates of an earlier one.",
        ]
        if self.near_duplicate_questions * 2 >= self.questions:
            said.append(f"{self.questions:,} questions make {self.groups:,} groups: {self.counted_once}.")
        if self.duplicate_rows:
            said.append(
                f"{self.duplicate_rows:,} rows repeat question, prompt and answer exactly: fine if the LLM "
                "was asked again, but drop copies of one answer, which count as independent evidence."
            )
        if self.test_questions_in_train or self.test_groups_in_train:
            said.append(
                f"{self.test_questions_in_train:,} questions of split test stand in split train too, "
                f"{self.test_groups_in_train:,} with near-duplicates: "
                "results on that split are a leak; folds by group are used here."
            )
        if self.broken_prompts:
            said.append(f"Never right, probably broken or graded wrongly: {', '.join(self.broken_prompts)}.")
        if self.truncated:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in self.truncated.items())
            said.append(f"Answers that end in mid-sentence (cut by a token limit?): {shares}.")
        said += [f"{name} reads: {text}" for name, text in self.texts.items()]
        return said


def data_facts(log: PromptLog) -> DataFacts:
    """Rows, coverage, copies, overlap, cut answers and prompts that never work."""
    asked = log.counts > 0
    groups = log.groups
    answers = log.counts.sum(0)
    broken = [
        on_one_line(name) for name, n, s in zip(log.names, answers, log.prompt_success) if n >= 20 and s == 0
    ]
    cell = log.question * len(log.prompts) + log.prompt
    texts = [(c, a) for c, a in zip(cell.tolist(), log.answer) if a]
    overlap, close = 0, 0
    if log.split is not None and {"train", "test"} <= set(log.split.tolist()):
        of = {s: np.unique(log.question[log.split == s]) for s in ("train", "test")}
        overlap = len(np.intersect1d(of["train"], of["test"]))
        close = int(np.isin(groups[of["test"]], groups[of["train"]]).sum())
    repeated_questions, raw, _ = oracle_where_repeated(log)
    truncated = _truncated(log)
    told = [(on_one_line(name), text) for name, text in zip(log.names, log.prompts) if name != text]
    return DataFacts(
        rows=len(log.correct),
        questions=len(log.questions),
        prompts=len(log.prompts),
        groups=len(np.unique(groups)),
        coverage=float(asked.mean()),
        answers_per_cell=float(len(log.correct) / max(asked.sum(), 1)),
        repeated_cells=int((log.counts > 1).sum()),
        repeated_questions=repeated_questions,
        oracle_where_repeated=raw,
        duplicate_rows=len(texts) - len(set(texts)),
        near_duplicate_questions=len(groups) - len(np.unique(groups)),
        counted_once=log.counted_once,
        test_questions_in_train=overlap,
        test_groups_in_train=close,
        broken_prompts=broken,
        truncated=truncated,
        texts={n: on_one_line(t, 61) or "(no prompt)" for n, t in told if n in {*broken, *truncated}},
        success={name: float(s) for name, s in zip(log.names, log.prompt_success)},
    )


def too_little(log: PromptLog) -> str | None:
    """Why nothing about single questions can be learned from a log, or None if it can."""
    if len(log.prompts) == 1:
        return "the log has one prompt only"
    known = log.labels[log.counts > 0]
    if known.min() == known.max():
        return f"every answer of the log has correct = {known.min():g}"
    groups = len(np.unique(log.groups))
    if groups < MIN_GROUPS:
        return f"the log has {groups} different questions ({log.counted_once}), fewer than {MIN_GROUPS}"
    return None


def _truncated(log: PromptLog) -> dict[str, float]:
    """Prompts of whose answers over a quarter ends within a sentence.

    Told only where the answers of the log are prose that ends its sentences: elsewhere a bare ending says
    nothing.
    """
    texts = [text.strip() if text else "" for text in log.answer]
    worded = [text for text in texts if len(_WORDS.findall(text)) > 1]
    if np.mean([bool(_STOPS.search(text)) for text in worded] or [False]) < MIN_STOPPING:
        return {}
    cut, given = np.array([ends_in_mid_sentence(text) for text in texts]), np.array(list(map(bool, texts)))
    shares = {}
    for j, name in enumerate(log.names):
        mine = cut[(log.prompt == j) & given]
        if len(mine) >= 20 and mine.mean() > 0.25:
            shares[on_one_line(name)] = float(mine.mean())
    return shares


def ends_in_mid_sentence(text: str) -> bool:
    """Whether an answer is prose of several words that stops at one which is not what it was leading up to.

    A number, sign, bracket, quote or code may be an end, and so may "the answer is blue", "= x" or "25 km",
    which models leave without a full stop.
    """
    text = text.strip()
    last_line = text.splitlines()[-1] if text else ""
    if not text[-1:].isalpha() and text[-1:] not in _OPEN:
        return False
    if len(_WORDS.findall(text)) < MIN_WORDS or _CODE.search(last_line):
        return False
    return bool(_PROSE.search(text)) and not _RESULT.search(last_line)
