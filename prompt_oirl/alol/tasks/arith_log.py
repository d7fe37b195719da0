"""The arith task: answers of the tiny LLaMA to word problems, from its interaction log; reward = strictly
correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol.rows import EXPECTED, FINAL, Row
from prompt_oirl.alol.tasks.task import Prepared, Request, Settings, Task
from prompt_oirl.data import interactions, questions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.grading.numbers import gold_number, strict
from prompt_oirl.io.files import InputError, Paths
from prompt_oirl.llms.chat import conversation, render

SIZES = {"validation": 500, "test": 1000}


def rewards(rows: Sequence[Row], responses: Sequence[str]) -> list[dict[str, float]]:
    """1 for a response whose stated number is the gold one, else 0."""
    return [{FINAL: float(strict(text, row.meta["gold"]))} for row, text in zip(rows, responses)]


def model_folder(paths: Paths) -> Path:
    """The model that answered it."""
    return paths.root / "data" / "nano_llama"


def make_rows(
    log: Path, tokenizer: Any, sizes: dict[str, int], seed: int, prompt: str | None = None
) -> dict[str, list[Row]]:
    """Rows of each split, whose responses are logged answers.

    Training rows are all logged answers. Validation and test rows are one per (question, prompt), of the
    prompts that training questions were asked with. With `prompt`, everything is asked under that one prompt:
    a question's answers become responses of different reward to one text, whichever prompt brought them about
    (correctness does not depend on it), and validation and test rows are that prompt's.

    Parameters
    ----------
    log : file of the interaction log
    tokenizer : its chat template (LLaMA-2's, if it has none) makes the text that the model reads
    sizes : rows of a split at most, or questions with `prompt`, drawn at random; a split left out has all
    seed : of the draws
    prompt : id of the one prompt; default: every answer stays under its own

    Raises: InputError if a gold answer holds no number, `prompt` was not asked on training questions, or a
        split has no answers.
    """
    logged = interactions.read(log, hint="pass --log FILE, or run llama_step1_gen_offline.py")
    logged = list(interactions.of_one_source(logged, logged[0].llm, logged[0].dataset, str(log)))
    unmet = next((i for i, row in enumerate(logged, 1) if gold_number(row.gold) is None), None)
    if unmet:
        raise InputError(
            f"{log}:{unmet}: the gold answer {logged[unmet - 1].gold[:40]!a} holds no number, and arith's "
            "reward is the right number; pass --log FILE, or --task_name prompt_writer"
        )
    asked = {row.prompt_id for row in logged if row.split == "train"}
    if prompt is not None and prompt not in asked:
        raise InputError(
            f"--prompt {prompt}: not asked on training questions; choose one of {', '.join(sorted(asked))}"
        )
    shown = {row.prompt_id: Prompt(row.prompt_id, row.prompt, row.position) for row in logged}
    separator = questions.SEPARATORS.get("arith", "\n")
    splits: dict[str, list[Row]] = {}
    for split in questions.SPLITS:
        kept = [
            row
            for row in logged
            if row.split == split
            and row.prompt_id in asked
            and (row.answer or "").strip()
            and (split == "train" or row.sample == 0)
            and (split == "train" or prompt in (None, row.prompt_id))
        ]
        if not kept:
            raise InputError(f"{log}: no answered {split} questions; pass --log FILE with all three splits")
        kept = _draw(kept, sizes.get(split), [seed, questions.SPLITS.index(split)], prompt is not None)
        splits[split] = []
        texts: dict[tuple[str, str], str] = {}
        for row in kept:
            under = prompt or row.prompt_id
            key = (row.question_id, under)
            if key not in texts:
                texts[key] = render(tokenizer, conversation(row.question, shown[under], separator))
            name, said = f"{row.question_id}/{row.prompt_id}/{row.sample}", row.answer or ""
            new = Row(name, texts[key], said, {FINAL: float(strict(said, row.gold))})
            meta = {"gold": row.gold, "question_id": row.question_id, "prompt_id": row.prompt_id}
            group, ended = row.group or row.question_id, row.finish_reason != "length"
            splits[split].append(replace(new, group=group, ended=ended, meta=meta))
    return splits


def _draw(rows: list[LogRow], n: int | None, seed: list[int], by_question: bool) -> list[LogRow]:
    """At most n rows, or all rows of at most n questions, in their order."""
    units = [row.question_id if by_question else str(i) for i, row in enumerate(rows)]
    names = list(dict.fromkeys(units))
    if n is None or n >= len(names):
        return rows
    drawn = {names[i] for i in np.random.default_rng(seed).choice(len(names), n, replace=False)}
    return [row for row, unit in zip(rows, units) if unit in drawn]


def prepare(request: Request) -> Prepared:
    """Rows from the log; with `expected_reward`, each training row knows what its question earns under its
    prompt.

    The model that answered the log is the reference here, so V(x) is r(question, prompt) of the prompt that x
    holds.
    """
    from prompt_oirl.alol.models.checkpoints import load_model

    paths = Paths(request.root)
    _, tokenizer = load_model(request.model_name_or_path or str(model_folder(paths)), "cpu")
    log = request.log_file
    splits = make_rows(log, tokenizer, SIZES | request.sizes, request.seed, request.prompt)
    if not request.expected_reward:
        return Prepared(splits, [])
    from prompt_oirl.alol.rewards import log_reward

    asked = {row.meta["question_id"] for row in splits["train"]}
    logged = [
        row
        for row in interactions.read(log, hint="pass --log FILE")
        if row.split == "train" and row.question_id in asked
    ]
    fit = log_reward.fit(logged, request.reward_model, request.embedder, request.seed)
    expected = {(row.question_id, row.prompt_id): float(v) for row, v in zip(logged, fit.cross_fitted)}
    rows = []
    for row in splits["train"]:
        key = (row.meta["question_id"], request.prompt or row.meta["prompt_id"])
        if key not in expected:
            raise InputError(
                f"{log}: question {key[0]} was never asked with prompt {key[1]}; choose another --prompt"
            )
        rows.append(replace(row, meta=row.meta | {EXPECTED: expected[key]}))
    splits["train"] = rows
    return Prepared(splits, [], log_reward.describe(fit))


TASK = Task(
    name="arith",
    needs=("gold",),
    make_reward=lambda data: rewards,
    inputs=lambda request: [request.log_file],
    prepare=prepare,
    max_prompt_length=400,
    max_response_length=97,  # 96 tokens were logged at most, and the end of text
    temperature=0.6,
    settings=Settings(200, 1e-4, 200, 3e-4, batch_size=32, value_samples=4),
)
