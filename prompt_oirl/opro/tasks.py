"""Tasks: questions with golds, cut into a train, a validation and a test part that share no group of
near-duplicates.

Instructions are scored on train, the winner is chosen on validation, and test is touched once, at the end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from prompt_oirl.data import questions
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError, Paths
from prompt_oirl.llms import item_seed
from prompt_oirl.opro import benchmarks

_DESCRIPTIONS = {
    "gsm8k": "math word problems of grade-school level",
    "svamp": "short arithmetic word problems",
    "mawps": "short arithmetic word problems",
    "arith": "arithmetic word problems of one to five steps",
    "multiarith": "arithmetic word problems of several steps",
    "aqua": "algebra word problems with five options",
}


@dataclass(frozen=True)
class QuestionTask:
    """Questions of one benchmark. `description` tells an optimizer what they are about; `separator` stands
    between a question and an instruction that follows it."""

    name: str
    questions: tuple[Question, ...]
    description: str
    separator: str = "\n"

    @property
    def kind(self) -> str:
        """The answer kind of most questions."""
        return Counter(q.kind for q in self.questions).most_common(1)[0][0]


def names() -> list[str]:
    """Every task that needs no file of one's own."""
    mmlu = [*benchmarks.MMLU, *(subject for subjects in benchmarks.MMLU.values() for subject in subjects)]
    return [*_DESCRIPTIONS, *(f"bbh_{name}" for name in benchmarks.BBH), *(f"mmlu_{name}" for name in mmlu)]


def load_task(name: str, paths: Paths, own_questions: Path | None = None) -> QuestionTask:
    """A task by name: gsm8k, svamp, mawps, arith, multiarith, aqua, bbh_<task>, mmlu_<category or subject>,
    or own.

    Parameters
    ----------
    name : one of `names`, or any name with `own_questions`
    paths : where the question files lie
    own_questions : the user's JSONL or CSV; default: the benchmark `name` is read

    Raises: InputError if there is no such task, or if a question file is missing or damaged.
    """
    if own_questions is not None:
        asked = questions.load_own_questions(own_questions, name)
        return QuestionTask(name, tuple(asked), f"questions of the kind {name.replace('_', ' ')}")
    if name not in names():
        raise InputError(
            f"--task {name}: choose {', '.join(_DESCRIPTIONS)}, bbh_<task>, mmlu_<category or subject>, "
            "or give your own --questions FILE"
        )
    family, _, rest = name.partition("_")
    if family == "bbh":
        return QuestionTask(
            name, tuple(benchmarks.load_bbh(rest, paths)), f"puzzles about {rest.replace('_', ' ')}"
        )
    if family == "mmlu":
        subjects = benchmarks.MMLU.get(rest, [rest])
        about = f"multiple-choice exam questions on {rest.replace('_', ' ')}"
        return QuestionTask(name, tuple(benchmarks.load_mmlu(subjects, paths)), about)
    if name in questions.DATASETS:
        asked = questions.load_questions(name, paths)
        return QuestionTask(name, tuple(asked), _DESCRIPTIONS[name], questions.SEPARATORS.get(name, "\n"))
    load = {"aqua": benchmarks.load_aqua, "multiarith": benchmarks.load_multiarith}[name]
    return QuestionTask(name, tuple(load(paths)), _DESCRIPTIONS[name])


@dataclass(frozen=True)
class Parts:
    """The questions of a run. `groups` (id of any of the task's questions -> group) is what intervals
    resample; `left_out` counts questions that were not taken because a near-duplicate stands in an earlier
    part."""

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    groups: dict[str, int]
    left_out: int

    def clusters(self, asked: Sequence[Question]) -> np.ndarray:
        """Group of every question, int64 (n,)."""
        return np.array([self.groups[q.id] for q in asked], dtype=np.int64)


def divide(task: QuestionTask, train: float, validation: int, test: float, seed: int) -> Parts:
    """Draw the three parts at random from `seed`, whole groups apart.

    Splits that the data bring are kept (validation comes out of train where there is none); data without
    splits are cut here, group by group. Parts shrink evenly where there are too few questions.

    Parameters
    ----------
    task : all of its questions may be drawn
    train : number of questions wanted, 1 or more; a float is a share, of the data's training questions, or of
        all questions where they bring no splits
    validation : number of questions wanted; 0 for none
    test : number of questions wanted; a float is a share, of the data's test questions, or of those that are
        not train or validation
    seed : of the draw

    Raises: InputError if a number or share cannot be, or if no question is left for a part.
    """
    for part, size in (("train", train), ("validation", validation), ("test", test)):
        if isinstance(size, float) and not 0 < size <= 1:
            raise InputError(f"--{part}_size {size}: give a share above 0 up to 1, or a whole number")
        if size < (part != "validation") and not isinstance(size, float):
            raise InputError(f"--{part}_size {size}: give {int(part != 'validation')} or more")
    group = question_groups(task.questions)
    order = list(range(len(task.questions)))
    random.Random(item_seed("parts", task.name, seed)).shuffle(order)
    pools = {split: [i for i in order if task.questions[i].split == split] for split in questions.SPLITS}
    if sum(bool(pool) for pool in pools.values()) < 2:
        train = _count(train, len(order))
        test = _count(test, max(1, len(order) - train - validation))
        train, validation, test = _fitting((train, validation, test), len(order))
        blocks = {g: i for i, g in enumerate(dict.fromkeys(group[i] for i in order))}
        pools = dict.fromkeys(questions.SPLITS, sorted(order, key=lambda i: blocks[group[i]]))
    else:
        train, test = _count(train, len(pools["train"])), _count(test, len(pools["test"]))
        if not pools["validation"]:
            train, validation = _fitting((train, validation), len(pools["train"]))
            pools["validation"] = pools["train"]
    taken: dict[int, str] = {}  # group -> the part that holds it
    used: set[int] = set()
    left_out: set[int] = set()
    parts = {}
    for split, size in (("train", train), ("validation", validation), ("test", test)):
        kept: list[int] = []
        for i in pools[split]:
            if len(kept) == size:
                break
            if taken.setdefault(group[i], split) != split:
                left_out.add(i)
            elif i not in used:
                kept.append(i)
        if size and not kept:
            raise InputError(
                f"{task.name}: no question is left for {split} that is no near-duplicate of another part; "
                "give more questions, or questions with splits and groups of their own"
            )
        used |= set(kept)
        parts[split] = tuple(replace(task.questions[i], split=split) for i in sorted(kept))
    groups = {q.id: group[i] for i, q in enumerate(task.questions)}
    return Parts(parts["train"], parts["validation"], parts["test"], groups, len(left_out - used))


def _count(size: float, available: int) -> int:
    """A number of questions; of a share at least one."""
    return max(1, int(size * available)) if isinstance(size, float) else size


def _fitting(sizes: Sequence[int], available: int) -> list[int]:
    """The sizes, all shrunk by as much as there are too few questions, to one at least."""
    scale = min(1.0, available / sum(sizes))
    return [max(1, int(size * scale)) if size else 0 for size in sizes]


def question_groups(asked: Sequence[Question]) -> list[int]:
    """Group of every question: the data's own where given, else near-duplicate clusters.

    Where one cluster would hold more than a fifth of the questions, they are all built on one template; then
    only identical texts are one group.
    """
    if all(q.group is not None for q in asked):
        return _numbered([str(q.group) for q in asked])
    from prompt_oirl.data.near_duplicates import cluster_texts  # scikit-learn takes a while to load

    clusters = cluster_texts([q.text for q in asked])
    if np.bincount(clusters).max() > len(asked) / 5:
        return _numbered([q.text for q in asked])
    return clusters.tolist()


def _numbered(keys: Sequence[str]) -> list[int]:
    """0, 1, 2, ... by first appearance."""
    seen: dict[str, int] = {}
    return [seen.setdefault(key, len(seen)) for key in keys]
