"""Import of the logs that Prompt-OIRL released for LLaMA-2-7B-chat (holarissun/Prompt-OIRL, MIT).

Labels stand one per line as `(row, True)`, answers as `(row, 'text')` blocks. Nothing in them says which
question a row is: the row order is that of the datasets, and `replay` proves it by grading every stored
answer again against the gold answer of its row.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import MERGED
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import FETCH, Question, load_questions
from prompt_oirl.grading import numbers
from prompt_oirl.io.arrays import load_array
from prompt_oirl.io.files import InputError, Paths, read_lines, require, write_array, write_csv

LLM = "llama2"
HINT = f"delete the file and {FETCH}"
_LABEL = re.compile(r"\((\d+), (True|False)\)")
_SEPARATOR = "\n\n" + "=" * 20 + "\n"


def source_files(dataset: str, paths: Paths) -> list[Path]:
    """The fetched files a dataset is made from; single missing ones are named when they are read."""
    upstream = paths.fetched / "Prompt-OIRL"
    questions = {
        "gsm8k": "grade-school-math/grade_school_math/data/*.jsonl",
        "svamp": "SVAMP/data/cv_svamp_augmented/*/train.csv",
        "mawps": "SVAMP/data/cv_mawps/*/train.csv",
    }
    logs = list((upstream / "llama_exps" / "llama2_chat_logs" / dataset).glob("*.txt"))
    if not logs:
        raise InputError(f"missing the released {dataset} logs below {upstream}: {FETCH}")
    critics = (upstream / "critics").glob(f"Processed_llama_{dataset}_*.npy")
    return [*paths.fetched.glob(questions[dataset]), *logs, *critics]


def import_log(dataset: str, prompts: Sequence[Prompt], paths: Paths) -> list[Path]:
    """Write a released log as interactions, with the replay report and the self-critique scores.

    Parameters
    ----------
    dataset : gsm8k, svamp or mawps
    prompts : all that the log was made with, in the order of the self-critique files
    paths : where the fetched files lie, and where the log is written

    Returns: the four files written.
    Raises: InputError naming the fetched file that is missing, damaged or another dataset's.
    """
    folder, questions = paths.labels(LLM), load_questions(dataset, paths)
    columns = read_released(dataset, questions, prompts, paths)
    report = list(replay(columns, questions))
    n_test = sum(q.split == "test" for q in questions)
    verdicts, confidences = read_critic_scores(dataset, prompts, n_test, paths)
    names = (MERGED, "_replay.csv", "_lmsc_verdict.npy", "_lmsc_confidence.npy")
    written = [folder / f"{dataset}{name}" for name in names]
    interactions.write(written[0], to_interactions(dataset, columns, questions))
    write_csv(written[1], report, ["prompt_id", "split", "answers", "agree"])
    write_array(written[2], verdicts)
    write_array(written[3], confidences)
    graded, agree = (sum(int(str(row[key])) for row in report) for key in ("answers", "agree"))
    print(f"{dataset}: the published grader repeats {agree:,} of {graded:,} labels from the stored answers")
    return written


@dataclass
class ReleasedColumn:
    """All rows of one prompt in one split: bool labels (n,), answers where they were released."""

    prompt: Prompt
    split: str
    labels: np.ndarray
    answers: list[str] | None
    source: Path


def read_labels(path: Path) -> np.ndarray:
    """Read a `corr` file to bool (n,); ids must run 0, 1, 2, ... and every line must hold one verdict."""
    labels: list[bool] = []
    for number, line in enumerate(read_lines(require(path, FETCH), hint=HINT), 1):
        line = line.removesuffix("\n")
        match = _LABEL.fullmatch(line)
        if not match:
            raise InputError(
                f"{path}:{number}: expected '(row, True)' or '(row, False)', found {line[:40]!r}; {HINT}"
            )
        if int(match[1]) != len(labels):
            problem = "stands twice" if int(match[1]) < len(labels) else f"follows row {len(labels) - 1}"
            raise InputError(f"{path}:{number}: row {match[1]} {problem}, expected row {len(labels)}; {HINT}")
        labels.append(match[2] == "True")
    return np.array(labels, dtype=bool)


def read_answers(path: Path) -> list[str]:
    """Read an `answers_list` file; blocks are Python literals, read without evaluating anything."""
    blocks = "".join(read_lines(path, hint=HINT)).split(_SEPARATOR)
    answers: list[str] = []
    for block in blocks:
        if not block.strip():
            continue
        try:
            row, text = ast.literal_eval(block.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise InputError(
                f"{path}: block {len(answers)} is not a (row, text) pair ({error}); {HINT}"
            ) from error
        if row != len(answers) or not isinstance(text, str):
            raise InputError(f"{path}: block {len(answers)} names row {row}; {HINT}")
        answers.append(text)
    return answers


def read_released(
    dataset: str, questions: Sequence[Question], prompts: Sequence[Prompt], paths: Paths
) -> list[ReleasedColumn]:
    """Every (prompt, split) column of one dataset, cut and checked against the number of questions.

    Parameters
    ----------
    dataset : gsm8k, svamp or mawps
    questions : all of the dataset (`load_questions`); those of train and test are counted
    prompts : held-out prompts have test rows only, the others training rows too
    paths : where the fetched files lie

    Returns: the columns in the order of `prompts`, training rows before test rows.
    Raises: InputError naming the file that is missing, damaged or of another number of rows.
    """
    folder = paths.fetched / "Prompt-OIRL" / "llama_exps" / "llama2_chat_logs" / dataset
    n_train = sum(q.split == "train" for q in questions)
    n_test = len(questions) - n_train
    columns = []
    for prompt in prompts:
        if prompt.role == "held_out":
            parts = [("", {"test": slice(0, n_test)}, n_test)]
        elif dataset == "gsm8k":
            parts = [
                ("", {"train": slice(0, n_train)}, n_train),
                ("test_", {"test": slice(0, n_test)}, n_test),
            ]
        else:
            parts = [("", {"train": slice(0, n_train), "test": slice(n_train, None)}, n_train + n_test)]
        for infix, cuts, expected in parts:
            path = folder / f"llama_{dataset}_{infix}corr_{prompt.id}.txt"
            labels = read_labels(path)
            if len(labels) != expected:
                raise InputError(
                    f"{path}: {len(labels)} rows, expected {expected} (truncated or another dataset's); "
                    f"{HINT}"
                )
            answers_path = folder / f"llama_{dataset}_{infix}answers_list_{prompt.id}.txt"
            answers = read_answers(answers_path) if answers_path.is_file() else None
            if answers is not None and len(answers) != expected:
                raise InputError(f"{answers_path}: {len(answers)} answers, expected {expected}; {HINT}")
            for split, cut in cuts.items():
                columns.append(
                    ReleasedColumn(prompt, split, labels[cut], answers[cut] if answers else None, path)
                )
    return columns


def replay(columns: Sequence[ReleasedColumn], questions: Sequence[Question]) -> Iterator[dict[str, object]]:
    """Grade every stored answer again with the published grader; rows prompt, split, answers, agree.

    A dataset swapped for another, or rows out of order, would agree about as often as a coin: refused.
    """
    golds = {split: [q.gold for q in questions if q.split == split] for split in ("train", "test")}
    for column in columns:
        if column.answers is None:
            continue
        verdicts = np.array(
            [numbers.original(a, g) for a, g in zip(column.answers, golds[column.split])], dtype=bool
        )
        agree = int((verdicts == column.labels).sum())
        if agree < 0.99 * len(verdicts):
            raise InputError(
                f"{column.source}: regrading the stored answers agrees with {agree} of {len(verdicts)} "
                "labels, so these are not the answers to these questions (swapped dataset or rows out of "
                f"order); {HINT}"
            )
        yield {"prompt_id": column.prompt.id, "split": column.split, "answers": len(verdicts), "agree": agree}


def to_interactions(
    dataset: str, columns: Sequence[ReleasedColumn], questions: Sequence[Question]
) -> Iterator[LogRow]:
    """The released columns as log rows; rows of one question text count as samples 0, 1, 2, ... of it.

    Parameters
    ----------
    dataset : its name, for the rows
    columns : of `read_released`
    questions : those that `read_released` was given, in the same order
    """
    by_split = {split: [q for q in questions if q.split == split] for split in ("train", "test")}
    occurrence: dict[str, int] = {}
    sample = {}
    for question in questions:
        sample[question.id] = occurrence[question.text] = occurrence.get(question.text, -1) + 1
    for column in columns:
        for i, question in enumerate(by_split[column.split]):
            yield LogRow(
                llm=LLM,
                dataset=dataset,
                split=column.split,
                question_id=question.id,
                question=question.text,
                gold=question.gold,
                prompt_id=column.prompt.id,
                prompt=column.prompt.text,
                position=column.prompt.position,
                sample=sample[question.id],
                answer=column.answers[i] if column.answers else None,
                correct=float(column.labels[i]),
                correct_original=float(column.labels[i]),
                temperature=0.6,
                top_p=0.9,
            )


def read_critic_scores(
    dataset: str, prompts: Sequence[Prompt], n_test: int, paths: Paths
) -> tuple[np.ndarray, np.ndarray]:
    """LLaMA-2's self-critique: verdicts bool (n_test, P) and confidences float64 (n_test, P).

    Confidences keep their released precision: LMSC picks by ties among them.

    Parameters
    ----------
    dataset : gsm8k, svamp or mawps
    prompts : the P prompts; file i is about prompt i
    n_test : number of test questions
    paths : where the fetched files lie

    Raises: InputError naming the file that is missing, damaged or of another number of rows.
    """
    verdicts: list[np.ndarray] = []
    confidences: list[np.ndarray] = []
    for i in range(len(prompts)):
        stem = paths.fetched / "Prompt-OIRL" / "critics" / f"Processed_llama_{dataset}_prompt_{i}"
        for name, target in (("critic", verdicts), ("confidence", confidences)):
            path = stem.with_name(f"{stem.name}_{name}.npy")
            array = load_array(path, hint=HINT, ndim=1)
            if len(array) != n_test:
                raise InputError(f"{path}: {len(array)} rows, expected {n_test}; {HINT}")
            target.append(array)
    return np.stack(verdicts, axis=1).astype(bool), np.stack(confidences, axis=1).astype(np.float64)
