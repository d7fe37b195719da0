"""A trained policy as a folder: model/, policy.json, curve.csv and .png; and how policies are validated on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol import evaluation
from prompt_oirl.alol.checkpoints import save_model
from prompt_oirl.alol.figures import draw_curve
from prompt_oirl.alol.rows import FINAL, Limits, Row, encode_rows
from prompt_oirl.alol.tasks import Task
from prompt_oirl.alol.training import CURVE
from prompt_oirl.io.files import write_csv, write_json


def validation_score(
    task: Task,
    model: Any,
    tokenizer: Any,
    validation: Sequence[Row],
    limits: Limits,
    n: int,
    seed: int,
    batch_size: int,
) -> float:
    """Mean final reward of one sampled response to each of `n` validation prompts, with the same noise every time."""
    prompts = list({row.prompt: row for row in validation}.values())
    order = np.random.default_rng([seed, 2]).permutation(len(prompts))[:n]
    asked = [prompts[i] for i in sorted(order.tolist())]
    limits = replace(limits, long_responses="cut")
    tokens = encode_rows(asked, tokenizer, limits)
    llm = evaluation.llm_of(model, tokenizer, limits, batch_size)
    decoding = task.decoding(seed, limits.max_response_length)
    components = evaluation.reward_responses(task, asked, evaluation.respond(llm, asked, tokens, decoding))
    return float(np.mean([found[0][FINAL] for found in components]))


def save_policy(
    folder: Path, model: Any, tokenizer: Any, curve: Sequence[dict[str, float]], about: dict[str, Any]
) -> list[Path]:
    """Write the folder that steps 5 and 6 read; returns its files."""
    outputs = save_model(folder / "model", model, tokenizer)
    files = [folder / name for name in ("curve.csv", "policy.json")]
    write_csv(files[0], curve, CURVE)
    write_json(files[1], about)
    figure = draw_curve(curve, f"{about['task']}: {about['policy']}", files[0].with_suffix(".png"))
    return [*outputs, *files, figure]
