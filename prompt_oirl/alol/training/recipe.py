"""How a model is trained: one recipe for the reference, the eight losses and every baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prompt_oirl.alol.rows import check_at_least
from prompt_oirl.io.files import InputError


@dataclass(frozen=True)
class TrainingRecipe:
    """How the loss is followed. A step is one update, on batch_size * accumulation rows, pairs or answers."""

    steps: int
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 2e-5
    schedule: Literal["linear", "constant"] = "linear"
    warmup: int = 0  # steps
    weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    tuning: Literal["full", "lora"] = "full"
    lora_rank: int = 16
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0  # of a new adapter, in gradient passes only
    eval_every: int = 0  # steps between validations; 0: none, the last weights are kept
    patience: int = 0  # validations without a better score before training ends; 0: never
    save_every: int = 100  # steps between checkpoints
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        at_least_1 = ["steps", "batch_size", "accumulation", "save_every"]
        at_least_1 += ["lora_rank", "lora_alpha"] if self.tuning == "lora" else []
        check_at_least(1, **{name: getattr(self, name) for name in at_least_1})
        at_least_0 = ("warmup", "eval_every", "patience", "learning_rate", "weight_decay", "max_grad_norm")
        check_at_least(0, **{name: getattr(self, name) for name in at_least_0})
        if not 0 <= self.lora_dropout < 1:
            raise InputError(f"--lora_dropout {self.lora_dropout}: give 0 or more, and less than 1")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: up over the warm-up, then constant or straight down to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (self.steps - step) / max(1, self.steps - self.warmup)
