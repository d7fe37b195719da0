"""What all policies of the hh experiment share: the reference, the value head and the advantages.

The reference is trained once, by nll on the chosen training responses, and shared by the seeds: policies of
all seeds then differ by the rows they draw alone, and their likelihoods can be compared pair by pair. V is
fitted on the logged rewards of the dev dialogues (two a dialogue), not on generated responses as published:
no reward model can score generated ones here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.experiments.hh_rows import prepare_rows, read_split, with_flipped_rewards
from prompt_oirl.alol.experiments.hh_settings import LORA_RANK, HHOptions
from prompt_oirl.alol.models.checkpoints import ModelSource, save_model
from prompt_oirl.alol.models.log_probabilities import Tokens
from prompt_oirl.alol.policies import LossAlgorithm, PolicyData, train_policy
from prompt_oirl.alol.rows import Row, encode_rows
from prompt_oirl.alol.tasks.hh import TASK
from prompt_oirl.alol.training import advantages
from prompt_oirl.alol.training.advantages import Advantages
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.value_estimate import (
    ValueRecipe,
    fit_value_head,
    predict,
    prompt_states,
    save_head,
)
from prompt_oirl.io.files import InputError, content_key, sha256, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.tracking import reporting

HINT = "run the same command again"
ADVANTAGES = "hh"  # settings.json says of what they are
VALUE = ValueRecipe(epochs=30, learning_rate=3e-4, held_out=0.2, patience=6)


@dataclass
class HHRun:
    """The experiment in memory. `data` holds the training rows with their advantages."""

    options: HHOptions
    model: Any
    data: PolicyData
    dev: list[Row]
    test: list[Row]
    dev_tokens: list[Tokens]
    test_tokens: list[Tokens]
    dev_reference: np.ndarray | None = None


def set_up(options: HHOptions, base: Path) -> None:
    """Rows, reference, value head and advantages, as far as they are not there.

    Parameters
    ----------
    options : the experiment
    base : folder of the model that the reference begins with

    Raises: InputError if the folder holds an experiment of other sizes.
    """
    noted, settings = options.folder / "settings.json", {"sizes": content_key(asdict(options.sizes))}
    settings["model"] = sha256(base / "model.safetensors")
    if noted.is_file() and read_json(noted, hint=HINT) != settings:
        raise InputError(f"{options.folder} holds another experiment: move it away, or pass another --root")
    write_json(noted, settings)
    source = ModelSource(str(base))
    adapter = options.folder / "reference" / "model"
    if not adapter.is_dir():
        model, tokenizer = source.load("cpu")
        print("rows:", prepare_rows(options, tokenizer), flush=True)
        _train_reference(options, model, tokenizer, adapter)
    if not (options.folder / "advantages.safetensors").is_file():
        _estimate_advantages(options, *load_reference(options, base))


def load_reference(options: HHOptions, base: Path) -> tuple[Any, Any]:
    """The reference, its adapter merged into the weights, and the tokenizer."""
    model, tokenizer = ModelSource(str(base), str(options.folder / "reference" / "model")).load("cpu")
    return model.merge_and_unload().requires_grad_(False), tokenizer


def recipe_of(
    options: HHOptions, rate: float, updates: int, seed: int, paired: bool = False, eval_every: int = 0
) -> TrainingRecipe:
    """A training run's recipe: the published constant rate, clip of the gradient and no decay.

    Parameters
    ----------
    options : the experiment, whose sizes say how many rows an update has
    rate, updates, seed : learning rate, updates, seed of the rows drawn
    paired : the updates are on pairs, half as many as rows
    eval_every : updates between validations; 0: none
    """
    fixed: dict[str, Any] = {"schedule": "constant", "max_grad_norm": 0.3, "weight_decay": 0.0}
    fixed |= {"tuning": "lora", "lora_rank": LORA_RANK, "lora_alpha": LORA_RANK}
    # One row or pair at a time: nothing is spent on padding.
    fixed |= {"batch_size": 1, "accumulation": options.sizes.rows // 2 if paired else options.sizes.rows}
    return TrainingRecipe(steps=updates, learning_rate=rate, seed=seed, eval_every=eval_every, **fixed)


def policy_data(options: HHOptions, tokenizer: Any, rows: list[Row], found: Advantages | None) -> PolicyData:
    """Training rows in memory; validation is the caller's."""
    limits = options.sizes.limits
    tokens = encode_rows(rows, tokenizer, limits)
    return PolicyData(TASK, tokenizer, limits, rows, tokens, [], 0, 4, found)


def _train_reference(options: HHOptions, model: Any, tokenizer: Any, adapter: Path) -> None:
    data = policy_data(options, tokenizer, read_split(options, "train"), None)
    recipe = recipe_of(options, options.sizes.reference_rate, options.sizes.reference_updates, 0)
    plain, training = LossAlgorithm("nll", choose_loss("nll")), adapter.with_name("training")
    with reporting(options.report_to, training, "hh reference", asdict(recipe)) as report:
        done = train_policy(
            model, data, plain, lambda n: recipe, 0, training, title="reference", report=report
        )
    write_json(adapter.with_name("training.json"), {"curve": done.curve})
    save_model(adapter, done.model, tokenizer)


def _estimate_advantages(options: HHOptions, model: Any, tokenizer: Any) -> None:
    """Fit V on the logged rewards of dev dialogues, and note it for every training and test prompt."""
    limits = replace(options.sizes.limits, long_responses="cut")  # of a value row the prompt alone is read

    def states(rows: list[Row]) -> list[torch.Tensor]:
        tokens = encode_rows(rows[::2], tokenizer, limits)
        return prompt_states(model, tokens, tokenizer.pad_token_id, 4, "cpu")

    known, train, test = (read_split(options, split) for split in ("value", "train", "test"))
    rewards = np.array([row.reward for row in known]).reshape(-1, 2)
    fit = fit_value_head(states(known), rewards, [row.cluster for row in known[::2]], TASK.max_reward, VALUE)
    save_head(options.folder / "value_head.safetensors", fit.head)
    values = predict(fit.head, states(test), "cpu").tolist()
    write_json(options.folder / "value.json", {"fit": fit.summary, "curve": fit.curve, "test": values})
    logged, tokens = np.array([row.reward for row in train]), encode_rows(train, tokenizer, limits)
    found = advantages.compute(model, fit.head, tokens, logged, tokenizer.pad_token_id, "cpu", 4)
    advantages.save(options.folder / "advantages.safetensors", ADVANTAGES, found)


def flipped(found: Advantages, rows: list[Row], share: float) -> tuple[list[Row], Advantages]:
    """Training rows with the rewards of `share` of the pairs exchanged, and their advantages.

    V stays as it is: exchanging the rewards of a pair leaves their mean, which V is fitted on.

    Parameters
    ----------
    found : advantages of the rows as logged
    rows : training rows, two by two
    share : of the pairs
    """
    noisy = with_flipped_rewards(rows, share)
    rewards = np.array([row.reward for row in noisy])
    return noisy, replace(found, advantages=(rewards - found.values).astype(np.float32))


def load_run(options: HHOptions, base: Path) -> HHRun:
    """What `set_up` left, in memory."""
    model, tokenizer = load_reference(options, base)
    train, dev, test = (read_split(options, split) for split in ("train", "dev", "test"))
    tokens = encode_rows(train, tokenizer, options.sizes.limits)
    found = advantages.load(options.folder / "advantages.safetensors", ADVANTAGES, tokens)
    data = policy_data(options, tokenizer, train, found)
    dev_tokens, test_tokens = (encode_rows(rows, tokenizer, options.sizes.limits) for rows in (dev, test))
    return HHRun(options, model, data, dev, test, dev_tokens, test_tokens)
