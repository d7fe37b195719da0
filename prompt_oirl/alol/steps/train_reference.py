"""Step 2: the reference policy, plain fine-tuning on all training rows."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.alol.evaluation.figures import draw_curve
from prompt_oirl.alol.evaluation.responses import row_nll
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import ModelSource, make_trainable, save_model
from prompt_oirl.alol.rows import encode_rows, rows_hash
from prompt_oirl.alol.steps.options import LengthOptions, PolicyModelOptions, TrainingOptions
from prompt_oirl.alol.training.loop import CURVE, TrainingRows, train
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.alol.training.sampling import make_sampler
from prompt_oirl.io.files import write_csv
from prompt_oirl.io.manifest import Manifest


@dataclass
class ReferenceOptions(PolicyModelOptions, LengthOptions, TrainingOptions):
    """Without --model_name_or_path, the model that step 1 made (toy) or the task's published one."""


def train_reference(args: ReferenceOptions) -> None:
    """Train and write reference/, unless it is up to date."""
    args.check_adapter()
    task, device = args.task, processes.device_name()
    name = args.base_model(args.model_name_or_path)
    rows, validation = args.rows("train"), args.rows("validation")
    inputs = [args.data_file(split) for split in ("train", "validation")]
    source = ModelSource(name, args.adapter_path, args.load_in_4bit)
    model_id = source.hash
    manifest = Manifest(args.folder / "step2.json", args.arguments(model=model_id), inputs, args.root)
    if manifest.is_current() and not args.force:
        print(f"{task.name}: up to date ({args.folder / 'reference'})")
        return
    if args.force and processes.is_main():
        shutil.rmtree(args.folder / "reference_training", ignore_errors=True)
    processes.wait()
    model, tokenizer = source.load(device)
    model = make_trainable(model, args.tuning, args.lora_rank, args.lora_alpha)
    limits = args.limits(task)
    tokens, held = encode_rows(rows, tokenizer, limits), encode_rows(validation, tokenizer, limits)
    sampler = make_sampler("none", None, np.array([row.chosen for row in rows]), args.seed)
    defaults = task.settings
    recipe = args.recipe(
        defaults.reference_steps,
        defaults.reference_rate,
        defaults.batch_size,
        10,
        len(sampler.rows),
        args.seed,
    )
    pad = tokenizer.pad_token_id

    def likelihood(policy: Any) -> float:
        nll, lengths = row_nll(policy, held, pad, device, args.eval_batch_size)
        return float(-nll.sum() / lengths.sum())

    with tqdm(
        total=recipe.steps, desc=f"{task.name} reference", disable=None if processes.is_main() else True
    ) as bar:
        outcome = train(
            model,
            TrainingRows(tokens),
            PRESETS["nll"],
            sampler,
            recipe,
            args.folder / "reference_training",
            pad,
            {
                "model": model_id,
                "rows": rows_hash(rows),
                "validation": rows_hash(validation),
                "limits": repr(limits),
            },
            likelihood,
            bar,
        )
    if not processes.is_main():
        return
    outputs = save_model(args.folder / "reference", model, tokenizer)
    curve = args.folder / "reference_training" / "curve.csv"
    write_csv(curve, outcome.curve, CURVE)
    figure = draw_curve(outcome.curve, f"{task.name}: reference", curve.with_suffix(".png"))
    manifest.finish([*outputs, curve, figure])
    best = (
        f", best at update {outcome.best_step}: {-outcome.best_score:.4f} nats per token"
        if outcome.best_step
        else ""
    )
    print(f"{task.name}: reference after {outcome.step} updates{best} in {args.folder / 'reference'}")
