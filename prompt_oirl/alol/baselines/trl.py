"""DPO, reference-free DPO and RLOO through TRL, with this project's rows, rates, validation and seeds.

Reference-free DPO is TRL's CPO with its sigmoid loss and cpo_alpha 0: -log sigmoid(beta (l_chosen -
l_rejected)). RLOO answers training prompts itself and is told their rewards, at temperature 1; a round of
answers serves ROUNDS updates. Dropout is off and weights stay in float32, as everywhere here.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.baselines.runs import BaselineRun
from prompt_oirl.alol.baselines.trl_trainers import cpo_trainer, dpo_trainer, pair_dataset, rloo_trainer
from prompt_oirl.alol.training.loop import TrainingRecipe
from prompt_oirl.io.files import InputError

INSTALL = 'pip install -e ".[alol]"'
NAMES = {"step": "step", "loss": "loss", "gradient_norm": "grad_norm", "learning_rate": "learning_rate"}
GROUP, ROUNDS = 4, 4  # answers per prompt and updates per round of RLOO


def train_trl(run: BaselineRun, algorithm: str, beta: float) -> list[dict[str, float]]:
    """Train the model in place by dpo, dpo_ref_free or rloo; returns the curve.

    Parameters
    ----------
    run : what to train on and how; the best validated weights are left in its model
    algorithm : dpo, dpo_ref_free or rloo
    beta : temperature of dpo and dpo_ref_free, weight of the KL penalty of rloo

    Returns: one dict per update, with `score` where it was validated.
    Raises: InputError if TRL is not installed, or if the batch size is no multiple of 4 for rloo.
    """
    model, rows, limits, recipe = run.model, run.rows, run.limits, run.recipe
    try:
        from datasets import Dataset, disable_progress_bars
        from trl import DPOConfig, RLOOConfig
    except ImportError as error:
        raise InputError(f"{algorithm} needs TRL ({error.name} is missing): {INSTALL}") from error
    disable_progress_bars()
    callback = _callback(run)
    size = recipe.batch_size
    with tempfile.TemporaryDirectory(prefix="trl-") as folder:
        flags = _flags(recipe, beta, folder, next(model.parameters()).device.type)
        common: dict[str, Any] = {"processing_class": run.tokenizer, "callbacks": [callback]}
        length = limits.max_prompt_length + limits.max_response_length
        trainer: Any
        if algorithm == "rloo":
            if size % GROUP:
                raise InputError(
                    f"--batch_size {size}: RLOO compares {GROUP} answers per prompt; give a multiple"
                )
            config = RLOOConfig(
                **flags,
                num_generations=GROUP,
                steps_per_generation=ROUNDS * recipe.accumulation,
                max_completion_length=limits.max_response_length,
                temperature=1.0,
                top_p=1.0,
                disable_dropout=True,
            )
            data = Dataset.from_list([{"prompt": row.prompt, "place": i} for i, row in enumerate(rows)])

            def reward(completions: list[str], place: list[int], **_: Any) -> list[float | None]:
                return np.asarray(run.rewards(place, completions), dtype=float).tolist()

            ids = {row.prompt: row_tokens.prompt for row, row_tokens in zip(rows, run.tokens)}
            trainer = rloo_trainer(ids)(model, reward, args=config, train_dataset=data, **common)
        else:
            data = pair_dataset(run.tokens, run.pairs)
            if algorithm == "dpo":
                settings = DPOConfig(**flags, loss_type=["sigmoid"], max_length=length, disable_dropout=True)
                reference = copy.deepcopy(model).requires_grad_(False)
                trainer = dpo_trainer()(model, reference, args=settings, train_dataset=data, **common)
            else:
                from trl.experimental.cpo import CPOConfig

                free = CPOConfig(
                    **flags, loss_type="sigmoid", cpo_alpha=0.0, max_length=length, disable_dropout=True
                )
                trainer = cpo_trainer()(model, free, train_dataset=data, **common)
        run.selection.begin(model)
        trainer.train()
    run.selection.restore(model)
    model.eval()
    return _curve(trainer.state.log_history, callback.scores)


def _flags(recipe: TrainingRecipe, beta: float, folder: str, device: str) -> dict[str, Any]:
    """What all of TRL's trainers are told."""
    return {
        "output_dir": folder,
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulation,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "linear" if recipe.schedule == "linear" else "constant_with_warmup",
        "warmup_steps": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "seed": recipe.seed,
        "beta": beta,
        "bf16": recipe.precision == "bf16",
        "fp16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "use_cpu": device == "cpu",
    }


def _curve(history: Sequence[dict[str, Any]], scores: dict[int, float]) -> list[dict[str, float]]:
    """TRL's log as the curve of a policy; `scores` are validation scores by update."""
    curve = []
    for entry in history:
        if "loss" in entry:
            row = {ours: float(entry[theirs]) for ours, theirs in NAMES.items()}
            if "reward" in entry:
                row |= {"weight": float(entry["reward"]), "kl": float(entry.get("kl", "nan"))}
            if int(row["step"]) in scores:
                row["score"] = scores[int(row["step"])]
            curve.append(row)
    return curve


def _callback(run: BaselineRun) -> Any:
    """Validates after updates, as the other loops do."""
    from transformers import TrainerCallback

    class Validation(TrainerCallback):
        scores: dict[int, float] = {}

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            with torch.no_grad():
                score = run.selection.after(model, state.global_step, state.global_step == args.max_steps)
            if score is not None:
                self.scores = self.scores | {state.global_step: score}
            if run.bar is not None:
                run.bar.update(1)

        def on_log(self, *_: Any, **__: Any) -> None:
            """Nothing is printed: the curve is a file."""

    return Validation()
