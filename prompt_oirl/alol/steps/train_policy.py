"""Step 2: the reference policy, plain fine-tuning on all training rows. Step 4: a policy trained from it, its
folder being model/, policy.json, curve.csv and curve.png."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.alol.evaluation.figures import draw_curve
from prompt_oirl.alol.evaluation.responses import row_nll
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.adapters import make_trainable
from prompt_oirl.alol.models.checkpoints import ModelSource, save_model
from prompt_oirl.alol.models.log_probabilities import check_positions
from prompt_oirl.alol.policies import Baseline, LossAlgorithm, PolicyData, TrainedPolicy, train_policy
from prompt_oirl.alol.rows import Limits, Row, check_at_least, encode_rows, rows_hash
from prompt_oirl.alol.steps.options import LengthOptions, PolicyModelOptions, TrainingOptions
from prompt_oirl.alol.steps.policy_card import write_policy_card
from prompt_oirl.alol.tasks.task import Settings
from prompt_oirl.alol.training import advantages
from prompt_oirl.alol.training.loop import CURVE, LoggedRows, TrainingRows, train
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import make_sampler, with_share_of_rows
from prompt_oirl.io.files import InputError, sha256, write_csv, write_json
from prompt_oirl.io.manifest import check_finished
from prompt_oirl.io.model_cards import CARD
from prompt_oirl.io.tracking import Report, reporting


@dataclass
class ReferenceOptions(PolicyModelOptions, LengthOptions, TrainingOptions):
    """Without --model_name_or_path, the model that step 1 made (toy) or the task's published one."""

    def load(self, source: ModelSource, checkpoint: Path) -> tuple[Any, Any]:
        """Model and tokenizer; --force begins without the checkpoint."""
        if self.force and processes.is_main():
            shutil.rmtree(checkpoint, ignore_errors=True)
        processes.wait()
        # Weights that will be spread must never be whole on one GPU.
        return source.load("cpu" if processes.shards() else processes.device_name())

    def reporting(self, folder: Path, name: str, **about: Any) -> AbstractContextManager[Report]:
        """What --report_to asks for, from process 0 alone; see `tracking.reporting`.

        Parameters
        ----------
        folder : of the checkpoint
        name : of the run, within its task
        about : settings besides the flags
        """
        asked = self.report_to if processes.is_main() else ()
        return reporting(asked, folder, f"{self.task.name} {self.run} {name}", self.arguments(**about))

    @property
    def of_reference(self) -> Settings:
        """The task's settings for the reference."""
        usual = self.task.settings
        return replace(
            usual,
            steps=usual.reference_steps,
            rate=usual.reference_rate,
            validations=usual.reference_validations,
        )


def train_reference(args: ReferenceOptions) -> None:
    """Train and write reference/, unless it is up to date."""
    task, device, limits = args.task, processes.device_name(), args.limits(args.task)
    folder, training = args.folder / "reference", args.folder / "reference_training"
    source = ModelSource(args.base_model(args.model_name_or_path), args.adapter_path, args.load_in_4bit)
    rows, validation = args.rows("train"), args.rows("validation")
    record = args.folder / "step2.json"
    manifest = args.pending(record, args.learned_files, task.name, folder, model=source.hash)
    if manifest is None:
        return
    model, tokenizer = args.load(source, training)
    tokens, held = encode_rows(rows, tokenizer, limits), encode_rows(validation, tokenizer, limits)
    check_positions(model, [*tokens, *held])
    sampler = make_sampler("none", None, np.array([row.chosen for row in rows]), args.seed)
    recipe = args.recipe(args.of_reference, len(sampler.rows), args.seed)
    model = make_trainable(model, recipe.tuning, recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout)
    pad = tokenizer.pad_token_id
    objective = LoggedRows(TrainingRows(tokens), PRESETS["nll"], sampler, recipe, pad)

    def likelihood(policy: Any) -> float:
        nll, lengths = row_nll(policy, held, pad, device, args.eval_batch_size)
        return float(-nll.sum() / lengths.sum())

    about = {"model": source.hash, "rows": rows_hash(rows), "validation": rows_hash(validation)}
    about["limits"] = repr(limits)
    silent = None if processes.is_main() else True
    bar = tqdm(total=recipe.steps, desc=f"{task.name} reference", disable=silent)
    with args.reporting(training, "reference") as report, bar, processes.sharded(model):
        told = with_share_of_rows(report, sampler, recipe.batch_size * recipe.accumulation, len(rows))
        outcome = train(model, objective, training, about, likelihood, bar, told)
    if not processes.is_main():
        return
    outputs = save_model(folder, model, tokenizer)
    facts = {
        "task": task.name,
        "policy": "reference",
        "algorithm": "nll",
        "rows": len(rows),
        "seed": args.seed,
    }
    facts |= {"steps": outcome.step, "best_step": outcome.best_step or outcome.step}
    write_policy_card(folder, facts | {"base_model": source.base_name})
    curve = training / "curve.csv"
    write_csv(curve, outcome.curve, CURVE)
    figure = draw_curve(outcome.curve, f"{task.name}: reference", curve.with_suffix(".png"))
    manifest.finish([*without_card(outputs), curve, figure])
    best = f", best at update {outcome.best_step}: {-outcome.best_score:.4f} nats per token"
    print(
        f"{task.name}: reference after {outcome.step} updates{best if outcome.best_step else ''} in {folder}"
    )


@dataclass
class PolicyOptions(ReferenceOptions):
    """Flags of both scripts of step 4."""

    policy: str | None = None
    """Name of the policy's folder; by default <algorithm>-seed<seed>."""
    validation_prompts: int = 200
    """Validation prompts that a validation answers, once each."""

    def recipe_for(self, rows: int) -> TrainingRecipe:
        """The recipe for so many rows, or pairs."""
        return self.recipe(self.task.settings, rows, self.seed)


def train_and_save(args: PolicyOptions, algorithm: LossAlgorithm | Baseline) -> None:
    """Train a policy from the reference and write its folder, unless that is up to date."""
    task = args.task
    rows, limits = args.rows("train"), args.limits(task)
    source = args.reference
    policy = args.policy or f"{algorithm.name}-seed{args.seed}"
    folder = args.policy_folder(policy)
    check_at_least(1, validation_prompts=args.validation_prompts)
    key, cache = None, None
    if algorithm.needs_advantages:
        key, cache = advantages_file(args, source, rows, limits)
    manifest = args.pending(
        folder / "step4.json", args.learned_files, policy, folder, model=source.hash, advantages=key
    )
    if manifest is None:
        return
    model, tokenizer = args.load(source, folder / "training")
    data = load_data(args, tokenizer, rows, key, cache)
    check_positions(model, data.tokens)
    about_inputs = {
        "model": source.hash,
        "rows": rows_hash(rows),
        "advantages": key,
        "limits": repr(limits),
        "strategy": algorithm.settings["sampling_strategy"],
        "validation": [rows_hash(data.validation), args.validation_prompts],
    }
    title = f"{task.name} {policy}"
    make, training = args.recipe_for, folder / "training"
    with args.reporting(training, policy, algorithm=algorithm.name, **algorithm.settings) as tell:
        trained = train_policy(
            model, data, algorithm, make, args.seed, training, about_inputs, title=title, report=tell
        )
    if not processes.is_main():
        return
    about = account(args, policy, algorithm, trained, len(rows)) | {"base_model": source.base_name}
    outputs = save_policy(folder, trained.model, tokenizer, trained.curve, about)
    write_policy_card(folder / "model", about)
    manifest.finish(without_card(outputs))
    report(policy, folder, algorithm, trained, len(rows))


def load_data(
    args: PolicyOptions, tokenizer: Any, rows: list[Row], key: str | None, cache: Path | None
) -> PolicyData:
    """What a policy learns from, in memory.

    Parameters
    ----------
    args : flags of step 4
    tokenizer : of the reference
    rows : training rows
    key, cache : name the advantages of step 3, see `advantages_file`; None where none are needed

    Raises: InputError on a response beyond the limit, or advantages that are missing, damaged or of others.
    """
    limits, validation = args.limits(args.task), args.rows("validation")
    tokens = encode_rows(rows, tokenizer, limits)
    cached = advantages.load(cache, key, tokens) if key and cache else None
    prompts, size = args.validation_prompts, args.eval_batch_size
    return PolicyData(args.task, tokenizer, limits, rows, tokens, validation, prompts, size, cached)


def advantages_file(
    options: PolicyOptions, source: ModelSource, rows: Sequence[Row], limits: Limits
) -> tuple[str, Path]:
    """Key and file of the advantages that step 3 left for this model, rows and limits.

    The file may still be missing, if step 3 was told other limits, say: `advantages.load` refuses then.

    Parameters
    ----------
    options : flags of step 4, of which folders and precision count
    source : the reference
    rows : training rows
    limits : tokens of prompts and responses

    Raises: InputError if step 3 has not been run, or its files are not those of its last run.
    """
    head = options.folder / "advantages" / "value_head.safetensors"
    if not head.is_file():
        raise InputError(f"missing {head}: {advantages.STEP3}")
    check_finished(options.folder / "step3.json", options.root, f"{advantages.STEP3} again")
    key = advantages.cache_key(source.hash, sha256(head), rows_hash(rows), limits, options.precision)
    return key, head.with_name(f"advantages.{key}.safetensors")


def account(
    args: PolicyOptions, policy: str, algorithm: LossAlgorithm | Baseline, trained: TrainedPolicy, rows: int
) -> dict[str, Any]:
    """What policy.json holds.

    Parameters
    ----------
    args : flags of step 4
    policy : its name
    algorithm : what trained it
    trained : how training went
    rows : number of training rows
    """
    found = {"task": args.task.name, "run": args.run, "seed": args.seed, "policy": policy}
    found |= {"algorithm": algorithm.name} | algorithm.settings
    found |= {"load_in_4bit": args.load_in_4bit, "recipe": asdict(trained.recipe), "rows": trained.rows}
    if isinstance(algorithm, LossAlgorithm):
        found["share_of_rows"] = trained.rows / rows
    return found | {
        "steps": trained.steps,
        "best_step": trained.best_step or trained.steps,
        "validation": trained.best_score,
        "validation_of_reference": trained.start_score,
    }


def save_policy(
    folder: Path, model: Any, tokenizer: Any, curve: Sequence[dict[str, float]], about: dict[str, Any]
) -> list[Path]:
    """Write the folder that step 5 reads; returns its files.

    Parameters
    ----------
    folder : of the policy
    model, tokenizer : what is saved below it, in model/
    curve : one dict per update
    about : what policy.json holds, see `account`
    """
    outputs = save_model(folder / "model", model, tokenizer)
    files = [folder / name for name in ("curve.csv", "policy.json")]
    write_csv(files[0], curve, CURVE)
    write_json(files[1], about)
    figure = draw_curve(curve, f"{about['task']}: {about['policy']}", files[0].with_suffix(".png"))
    return [*outputs, *files, figure]


def without_card(files: Sequence[Path]) -> list[Path]:
    """Files less model cards, which step 5 writes anew."""
    return [path for path in files if path.name != CARD]


def report(
    policy: str, folder: Path, algorithm: LossAlgorithm | Baseline, trained: TrainedPolicy, rows: int
) -> None:
    """Print how training went; on logged rows, also a warning if no validation beat the untrained model.

    Parameters
    ----------
    policy, folder : its name and folder
    algorithm : what trained it
    trained : how training went
    rows : number of training rows
    """
    score, start = trained.best_score, trained.start_score
    if isinstance(algorithm, LossAlgorithm):
        if start is not None and (score is None or score <= start):
            print(f"warning: no validation beat the reference's {start:.4f}", file=sys.stderr)
        learned_from = f"{trained.rows:,} of {rows:,} rows"
    else:
        learned_from = f"{trained.rows:,} {'pairs' if algorithm.paired else 'rows'}"
    scored = "" if score is None else f", validation {score:.4f} at update {trained.best_step}"
    print(f"{policy}: {trained.steps} updates on {learned_from}{scored}; in {folder}")
