"""Policies trained in memory: by one of the eight losses on logged rows, or as a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.alol.baselines.own_answers import OwnAnswers, value_head
from prompt_oirl.alol.baselines.pair_losses import PairLoss
from prompt_oirl.alol.baselines.ppo import PPORecipe, RLOORecipe
from prompt_oirl.alol.baselines.runs import Pair, PairOrder, make_pairs
from prompt_oirl.alol.evaluation.responses import answer, reward_responses
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import make_trainable, weights_at_start
from prompt_oirl.alol.models.log_probabilities import Tokens
from prompt_oirl.alol.rows import FINAL, Limits, Row
from prompt_oirl.alol.tasks.task import Task
from prompt_oirl.alol.training.advantages import Advantages
from prompt_oirl.alol.training.loop import LoggedRows, Objective, TrainingRows, train
from prompt_oirl.alol.training.losses import Loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler, make_sampler, with_share_of_rows
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tracking import Report

Evaluate = Callable[[Any], float]
PAIRED, ONLINE = ("dpo", "dpo_ref_free", "pro"), ("ppo", "rloo")
LEARNS_FROM = dict.fromkeys(PAIRED, "pairs") | dict.fromkeys(ONLINE, "own answers")


@dataclass(frozen=True)
class LossAlgorithm:
    """Training on logged rows: the loss, and the strategy by which rows are drawn."""

    name: str
    loss: Loss
    strategy: str = "none"

    @property
    def needs_advantages(self) -> bool:
        """True if step 3 must have been run."""
        drawn_by_advantage = self.loss.weight == "none" and self.strategy != "none"
        return self.loss.weight == "advantage" or drawn_by_advantage or self.loss.needs_reference

    @property
    def settings(self) -> dict[str, Any]:
        """Its part of policy.json."""
        loss = self.loss
        return {"sampling_strategy": self.strategy, "ppo_clip": loss.clip, "kl_beta": loss.kl_beta}


@dataclass(frozen=True)
class Baseline:
    """A baseline.

    beta : DPO's temperature, or the weight of the KL penalty of ppo and rloo; None: the usual.
    pairs : which response of a pair is preferred; None: the task's.
    """

    name: str
    beta: float | None = None
    pairs: PairOrder | None = None
    needs_advantages = False

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 <= self.beta < 100:
            raise InputError(f"--beta {self.beta}: give a number of 0 or more")
        if self.pairs and not self.paired:
            raise InputError(
                f"--pairs {self.pairs}: {self.name} learns from answers of its own; leave it out"
            )

    @property
    def paired(self) -> bool:
        """True if it learns from pairs of responses."""
        return self.name in PAIRED

    @property
    def strength(self) -> float:
        """beta, or the usual one."""
        if self.beta is not None:
            return self.beta
        return 0.1 if self.paired else 0.05

    @property
    def settings(self) -> dict[str, Any]:
        """Its part of policy.json."""
        return {"sampling_strategy": "pairs" if self.paired else "online", "kl_beta": self.strength}


@dataclass
class PolicyData:
    """What a policy is trained and validated on, in memory. `tokens` are the rows' token ids."""

    task: Task
    tokenizer: Any
    limits: Limits
    rows: list[Row]
    tokens: list[Tokens]
    validation: list[Row]
    validation_prompts: int
    eval_batch_size: int
    advantages: Advantages | None = None

    def score(self, model: Any, seed: int) -> float:
        """Mean final reward of one response to each of `validation_prompts` prompts; where the task samples,
        the noise is always the same."""
        prompts = list({row.prompt: row for row in self.validation}.values())
        order = np.random.default_rng([seed, 2]).permutation(len(prompts))[: self.validation_prompts]
        asked = [prompts[i] for i in sorted(order.tolist())]
        search, size = self.task.search, self.eval_batch_size
        said = answer(self.task, model, self.tokenizer, asked, self.limits, size, seed, search=search)
        components = reward_responses(self.task, asked, said)
        return float(np.mean([found[0][FINAL] for found in components]))

    def rewards(self, places: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        """Final rewards float32 (n,) of texts as responses to the rows at `places`."""
        found = self.task.reward([self.rows[i] for i in places], texts)
        return np.array([components[FINAL] for components in found], dtype=np.float32)


@dataclass(frozen=True)
class TrainedPolicy:
    """How a training went: one dict per update, the rows or pairs drawn from, and the best validated update.

    model : the one given, with an adapter round it if that is what was trained.
    best_step : 0, and best_score None, where nothing was validated; `start_score` is the untrained model's.
    """

    model: Any
    recipe: TrainingRecipe
    curve: list[dict[str, float]]
    rows: int
    steps: int
    best_step: int
    best_score: float | None
    start_score: float | None


def train_policy(
    model: Any,
    data: PolicyData,
    algorithm: LossAlgorithm | Baseline,
    make_recipe: Callable[[int], TrainingRecipe],
    seed: int,
    folder: Path,
    inputs: Any = None,
    evaluate: Evaluate | None = None,
    title: str | None = None,
    report: Report | None = None,
) -> TrainedPolicy:
    """Train `model` in place and leave the best validated weights in it.

    Parameters
    ----------
    make_recipe : the recipe for so many rows (or pairs).
    folder : holds the checkpoint, from which training resumes.
    inputs : JSON-like, names model and data; a checkpoint of others is refused.
    evaluate : validation score of a model; by default `data.score`.
    title : of the progress bar; None shows none.
    report : told every row of the curve.
    """
    score = evaluate or (lambda trained: data.score(trained, seed))
    pairs: list[Pair] = []
    if isinstance(algorithm, Baseline):
        if algorithm.paired:
            pairs = make_pairs(data.rows, seed, algorithm.pairs or data.task.pairs)
        weights, sampler = None, RowSampler(np.arange(len(pairs or data.rows)), None, seed)
    else:
        weights, sampler = choose_rows(algorithm, data.rows, data.advantages, seed)
    recipe = make_recipe(len(sampler.rows))
    model = make_trainable(model, recipe.tuning, recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout)
    silent = None if title and processes.is_main() else True
    with tqdm(total=recipe.steps, desc=title, disable=silent) as bar, processes.sharded(model):
        objective: Objective
        if isinstance(algorithm, Baseline):
            objective = baseline_objective(model, data, algorithm, recipe, pairs, sampler)
        else:
            reference = data.advantages if algorithm.loss.needs_reference else None
            rows = TrainingRows(data.tokens, weights, reference)
            objective = LoggedRows(rows, algorithm.loss, sampler, recipe, data.tokenizer.pad_token_id)
        if report is not None and algorithm.name not in ONLINE:
            per_step, known = recipe.batch_size * recipe.accumulation, len(pairs or data.rows)
            report = with_share_of_rows(report, sampler, per_step, known)
        done = train(model, objective, folder, inputs, score, bar, report)
    best = done.best_score if done.best_step else None
    return TrainedPolicy(
        model, recipe, done.curve, len(sampler.rows), done.step, done.best_step, best, done.start_score
    )


def baseline_objective(
    model: Any,
    data: PolicyData,
    baseline: Baseline,
    recipe: TrainingRecipe,
    pairs: Sequence[Pair],
    sampler: RowSampler,
) -> Objective:
    """What a baseline minimises; the reference is the model as it is now.

    Parameters
    ----------
    model : with its trained weights unfrozen
    data, baseline, recipe : what it learns from, which one it is, and how it is trained
    pairs, sampler : the pairs, if it learns from such, and how rows or pairs are drawn

    Raises: InputError on ppo where weights are spread over processes.
    """
    name, beta = baseline.name, baseline.strength
    if name == "ppo" and processes.shards():
        raise InputError("ppo: its value head is not spread over processes; drop --config_file, or use rloo")
    start = {} if name in ("dpo_ref_free", "pro") else weights_at_start(model)
    if baseline.paired:
        pad = data.tokenizer.pad_token_id
        return PairLoss(name, beta, data.tokens, pairs, sampler, recipe, pad, start)
    settings = data.task.settings
    online: PPORecipe | RLOORecipe = RLOORecipe(kl_coefficient=beta)
    if name == "ppo":
        online = PPORecipe(settings.ppo_batches, settings.ppo_epochs, kl_coefficient=beta)
    head = value_head(model) if name == "ppo" else None
    limit = data.limits.max_response_length
    return OwnAnswers(online, data.tokenizer, data.tokens, data.rewards, limit, recipe, start, sampler, head)


def choose_rows(
    algorithm: LossAlgorithm, rows: Sequence[Row], cached: Advantages | None, seed: int
) -> tuple[np.ndarray | None, RowSampler]:
    """The rows' weights in the loss float32 (n,), None for nll, and the sampler that draws them.

    Parameters
    ----------
    algorithm : the loss, and the strategy by which rows are drawn
    rows : n training rows
    cached : what step 3 left for them; None where it is not needed
    seed : of the draws

    Raises: InputError if no row has a weight above 0, or none can be drawn by the strategy.
    """
    weighs_by = algorithm.loss.weight
    if weighs_by == "reward":
        weights: np.ndarray | None = np.array([row.reward for row in rows], dtype=np.float32)
    else:
        weights = None if cached is None else cached.advantages
    if weighs_by != "none" and weights is not None and not (weights > 0).any():
        raise InputError(
            f"no training row has {'a reward' if weighs_by == 'reward' else 'an advantage'} above 0, so "
            f"{algorithm.name} would learn nothing: check the rewards of step 1 and the values of step 3"
        )
    sampler = make_sampler(algorithm.strategy, weights, np.array([row.chosen for row in rows]), seed)
    return (None if weighs_by == "none" else weights), sampler
