"""The tasks A-LoL is tried on: how a response is rewarded, how long texts may be, and settings to begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prompt_oirl.alol.rows import Row
from prompt_oirl.artifacts import InputError
from prompt_oirl.generation import Decoding

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

    def decoding(self, seed: int, max_new_tokens: int, greedy: bool = False) -> Decoding:
        """Sampling like the logged responses', or greedy."""
        return Decoding(0.0 if greedy else self.temperature, self.top_p, max_new_tokens, seed)


def get_task(name: str) -> Task:
    from prompt_oirl.alol import arith_log, toy

    tasks = {task.name: task for task in (toy.TASK, arith_log.TASK)}
    if name not in tasks:
        raise InputError(f"--task_name {name}: unknown task, choose one of {', '.join(tasks)}")
    return tasks[name]
