"""The tasks A-LoL is tried on: how a response is rewarded, how long texts may be, and settings to begin
with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from prompt_oirl.alol.rows import Row
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
        """Folder of the run's rows and of what rewards them."""
        return self.folder / "data"


@dataclass(frozen=True)
class Prepared:
    """Rows of every split and the files written beside them; `note` is for the user."""

    splits: dict[str, list[Row]]
    files: list[Path]
    note: str = ""


@dataclass(frozen=True)
class Task:
    """How rows are made and how responses are rewarded.

    Parameters
    ----------
    max_reward : largest `final_reward`; the smallest is 0.
    metric : the reward component that tables are about.
    make_reward : given the data folder of a run, the function that rewards responses as that run does.
    inputs : files that step 1 reads for a request.
    prepare : step 1's work.
    max_prompt_length, max_response_length : tokens.
    needs : fields of a row's meta_data that the reward reads.
    base_model : what step 2 begins with: a hub id, or a folder below the root.
    data : data folder of the run, whose reward models are used.
    """

    name: str
    max_reward: float
    metric: str
    make_reward: Callable[[Path], Reward]
    inputs: Callable[[Request], list[Path]]
    prepare: Callable[[Request], Prepared]
    max_prompt_length: int
    max_response_length: int
    temperature: float
    top_p: float
    settings: Settings
    needs: tuple[str, ...] = ()
    base_model: str | None = None
    data: Path = Path()

    @cached_property
    def reward(self) -> Reward:
        """Gives each response to the rows' prompts its components, among them `final_reward`."""
        return self.make_reward(self.data)

    def decoding(self, seed: int, max_new_tokens: int, greedy: bool = False) -> Decoding:
        """Sampling like the logged responses', or greedy."""
        return Decoding(0.0 if greedy else self.temperature, self.top_p, max_new_tokens, seed)


def drawn(rows: list[Row], n: int | None, seed: list[int]) -> list[Row]:
    """At most n rows at random, in their order."""
    if n is None or n >= len(rows):
        return rows
    kept = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    return [rows[i] for i in np.sort(kept)]
