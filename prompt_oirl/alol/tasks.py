"""The tasks A-LoL is tried on: how a response is rewarded, how long texts may be, and settings to begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.alol.rows import Row
from prompt_oirl.io.files import InputError
from prompt_oirl.llms.generation import Decoding

Reward = Callable[[Sequence[Row], Sequence[str]], list[dict[str, float]]]


@dataclass(frozen=True)
class Settings:
    """What a step does where no flag says otherwise."""

    reference_steps: int
    reference_rate: float
    steps: int
    rate: float
    batch_size: int
    validations: int  # of a policy in training; 0: the last weights are kept
    value_epochs: int
    value_rate: float
    value_samples: int  # responses per validation prompt


@dataclass(frozen=True)
class Task:
    """`reward` gives each response of the rows' prompts its components, among them `final_reward` in 0..max_reward.

    `metric` is the component that tables are about.
    """

    name: str
    max_reward: float
    metric: str
    reward: Reward
    max_prompt_length: int
    max_response_length: int
    temperature: float
    top_p: float
    settings: Settings
    needs: tuple[str, ...] = ()  # fields of a row's meta_data that `reward` reads
    base_model: str | None = None  # what step 2 begins with: a hub id, or a folder below the root

    def decoding(self, seed: int, max_new_tokens: int, greedy: bool = False) -> Decoding:
        """Sampling like the logged responses', or greedy."""
        return Decoding(0.0 if greedy else self.temperature, self.top_p, max_new_tokens, seed)


@dataclass(frozen=True)
class Request:
    """What step 1 was asked to prepare."""

    task: str
    root: Path
    folder: Path  # of the run; rows go to its data/
    sizes: dict[str, int]  # rows of a split at most
    seed: int
    input_dir: Path | None = None  # holds the task's raw files, instead of data/fetched/
    log: Path | None = None
    prompt: str | None = None  # arith: under which all answers are put
    model: str | None = None  # whose chat template or tokenizer is needed
    reward_models: str | None = None
    reward_model: str = "linear"  # of Prompt-OIRL, learned from the log
    embedder: str = "minilm"
    train_reward: Literal["correct", "model"] = "correct"
    expected_reward: bool = False

    @property
    def data(self) -> Path:
        return self.folder / "data"


@dataclass(frozen=True)
class Prepared:
    """Rows of every split and the files written beside them; `note` is for the user."""

    splits: dict[str, list[Row]]
    files: list[Path]
    note: str = ""


# Which module knows a task: it has make_task(name, data), inputs(request) and prepare(request).
MODULES = {
    "toy": "toy",
    "arith": "arith_log",
    "prompt_writer": "prompt_writer",
    "hh": "hh",
    "comet": "comet",
    "reddit_pos": "reddit",
    "reddit_neg": "reddit",
    "wow": "knowledge_dialogue",
    "faithdial": "knowledge_dialogue",
    "faithdial_wow": "knowledge_dialogue",
}


def module_of(name: str) -> Any:
    # The published table scripts write some names in capitals.
    known = MODULES.get(name) or MODULES.get(name.lower())
    if known is None:
        raise InputError(f"--task_name {name}: unknown task, choose one of {', '.join(MODULES)}")
    return import_module(f"prompt_oirl.alol.{known}")


def get_task(name: str, data: Path = Path()) -> Task:
    """The task, judged by the reward models that a run keeps in `data`."""
    return module_of(name).make_task(name.lower(), data)


def drawn(rows: list[Row], n: int | None, seed: list[int]) -> list[Row]:
    """At most n rows at random, in their order."""
    if n is None or n >= len(rows):
        return rows
    kept = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    return [rows[i] for i in np.sort(kept)]
