"""Step 4 of A-LoL: train a policy from the reference on the rows that beat expectation, or by a baseline's loss.

    cd alol_exps
    python alol_step4_train_policy.py --algorithm a_lol
    python alol_step4_train_policy.py --algorithm a_lol_seq --sampling_strategy good_priority --ppo_clip 0.9 --seed 1
    python alol_step4_train_policy.py --algorithm a_lol_kl --kl_beta 0.2 --task_name arith
    python alol_step4_train_policy.py -m huggyllama/llama-7b --adapter_path timdettmers/qlora-hh-rlhf-7b \\
        --load_in_4bit --tuning lora --precision bf16 --gradient_checkpointing --task_name hh     # QLoRA, one GPU
    accelerate launch --num_processes 4 alol_step4_train_policy.py --task_name hh ...              # several

Algorithms (formulas: prompt_oirl/alol/losses.py): nll, wbc, r_gold, r_lol, a_lol, a_lol_ref_free, a_lol_seq, a_lol_kl.
Writes alol_exps/<task>/<run>/policies/<policy>/: model/, policy.json, curve.csv and .png, and a checkpoint from which
the same command goes on. nll, wbc and r_gold need no step 3 unless a strategy asks for advantages. The number of
updates is as given: it is not multiplied by the share of rows kept, as published, so that algorithms get equal work.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
from tqdm import tqdm
from tyro.conf import arg

from prompt_oirl.alol import advantages, processes
from prompt_oirl.alol.advantages import Advantages
from prompt_oirl.alol.checkpoints import make_trainable
from prompt_oirl.alol.losses import Algorithm, Loss, choose_loss
from prompt_oirl.alol.options import LengthOptions, ModelOptions, TrainingOptions
from prompt_oirl.alol.policies import save_policy, validation_score
from prompt_oirl.alol.rows import Row, encode_rows, rows_hash
from prompt_oirl.alol.sampling import RowSampler, Strategy, make_sampler
from prompt_oirl.alol.training import TrainingRows, train
from prompt_oirl.io.files import InputError, sha256
from prompt_oirl.io.manifest import Manifest, check_finished, run_step


@dataclass
class Args(ModelOptions, LengthOptions, TrainingOptions):
    algorithm: Annotated[Algorithm, arg(aliases=["-algo", "--learning_algorithm"])] = "a_lol"
    """The loss."""
    sampling_strategy: Strategy = "none"
    """Which rows are drawn; good_priority: positive weights only, in proportion."""
    train_sampling: Annotated[bool, arg(aliases=["-ts"])] = False
    """Published spelling of --sampling_strategy good_priority."""
    ppo_clip: Annotated[float, arg(aliases=["-c"])] = 0.9
    """Ratios are held within 1 - this and 1 + this; 0: no clip."""
    kl_beta: Annotated[float, arg(aliases=["-b"])] = 0.0
    """Weight of the KL term of a_lol_kl (0.2, say)."""
    policy: str | None = None
    """Name of the policy's folder; by default <algorithm>-seed<seed>."""
    validation_prompts: int = 200
    """Validation prompts that a validation answers, once each."""


def main(args: Args) -> None:
    if args.train_sampling:
        args = replace(args, sampling_strategy="good_priority", train_sampling=False)
    args.check_adapter()
    task, device = args.task, processes.device_name()
    loss = choose_loss(args.algorithm, args.ppo_clip, args.kl_beta)
    if args.algorithm == "a_lol" and args.ppo_clip == 0 and not args.kl_beta:
        print(
            "warning: a_lol without a clip: ratios of whole responses overflow or vanish soon",
            file=sys.stderr,
        )
    rows, validation = args.rows("train"), args.rows("validation")
    source = args.reference
    model_id, limits = source.hash, args.limits(task)
    policy = args.policy or f"{args.algorithm}-seed{args.seed}"
    folder = args.policy_folder(policy)
    if args.validation_prompts < 1:
        raise InputError(f"--validation_prompts {args.validation_prompts}: give 1 or more")
    weighted = loss.weight == "advantage" or (loss.weight == "none" and args.sampling_strategy != "none")
    head = args.folder / "advantages" / "value_head.safetensors"
    inputs = [args.data_file(split) for split in ("train", "validation")]
    key = None
    if weighted or loss.needs_reference:
        if not head.is_file():
            raise InputError(f"missing {head}: {advantages.STEP3}")
        check_finished(args.folder / "step3.json", args.root, f"{advantages.STEP3} again")
        key = advantages.cache_key(model_id, sha256(head), rows_hash(rows), limits, args.precision)
    manifest = Manifest(
        folder / "step4.json", args.arguments(model=model_id, advantages=key), inputs, args.root
    )
    if manifest.is_current() and not args.force:
        print(f"{policy}: up to date ({folder})")
        return
    if args.force and processes.is_main():
        shutil.rmtree(folder / "training", ignore_errors=True)
    processes.wait()
    model, tokenizer = source.load(device)
    model = make_trainable(model, args.tuning, args.lora_rank, args.lora_alpha)
    tokens = encode_rows(rows, tokenizer, limits)
    cached = advantages.load(head.with_name(f"advantages.{key}.safetensors"), key, tokens) if key else None
    weights, sampler = choose_rows(args, loss, rows, cached)
    settings = task.settings
    recipe = args.recipe(
        settings.steps, settings.rate, settings.batch_size, settings.validations, len(sampler.rows), args.seed
    )
    with tqdm(
        total=recipe.steps, desc=f"{task.name} {policy}", disable=None if processes.is_main() else True
    ) as bar:
        outcome = train(
            model,
            TrainingRows(tokens, weights, cached if loss.needs_reference else None),
            loss,
            sampler,
            recipe,
            folder / "training",
            tokenizer.pad_token_id,
            {"model": model_id, "rows": rows_hash(rows), "advantages": key, "limits": repr(limits),
             "tuning": [args.tuning, args.lora_rank, args.lora_alpha], "strategy": args.sampling_strategy, "validation": [rows_hash(validation), args.validation_prompts]},
            lambda trained: validation_score(task, trained, tokenizer, validation, limits, args.validation_prompts, args.seed, args.eval_batch_size),
            bar,
        )  # fmt: skip
    if not processes.is_main():
        return
    about = {
        "task": task.name,
        "run": args.run,
        "seed": args.seed,
        "policy": policy,
        "algorithm": args.algorithm,
        "sampling_strategy": args.sampling_strategy,
        "ppo_clip": loss.clip,
        "kl_beta": loss.kl_beta,
        "tuning": args.tuning,
        "load_in_4bit": args.load_in_4bit,
        "recipe": asdict(recipe),
        "rows": len(sampler.rows),
        "share_of_rows": len(sampler.rows) / len(rows),
        "steps": outcome.step,
        "best_step": outcome.best_step or outcome.step,
        "validation": outcome.best_score if outcome.best_step else None,
        "validation_of_reference": outcome.start_score,
    }
    manifest.finish(save_policy(folder, model, tokenizer, outcome.curve, about))
    if outcome.start_score is not None and outcome.best_score <= outcome.start_score:
        print(f"warning: no validation beat the reference's {outcome.start_score:.4f}", file=sys.stderr)
    scored = (
        f", validation {outcome.best_score:.4f} at update {outcome.best_step}" if outcome.best_step else ""
    )
    print(
        f"{policy}: {outcome.step} updates on {len(sampler.rows):,} of {len(rows):,} rows{scored}; in {folder}"
    )


def choose_rows(
    args: Args, loss: Loss, rows: list[Row], cached: Advantages | None
) -> tuple[np.ndarray | None, RowSampler]:
    """The rows' weights in the loss (n,), None for nll, and the sampler that draws them."""
    chosen = np.array([row.chosen for row in rows])
    if loss.weight == "reward":
        weights: np.ndarray | None = np.array([row.reward for row in rows], dtype=np.float32)
    else:
        weights = None if cached is None else cached.advantages
    if loss.weight != "none" and weights is not None and not (weights > 0).any():
        raise InputError(
            f"no training row has {'a reward' if loss.weight == 'reward' else 'an advantage'} above 0, so {args.algorithm} would "
            "learn nothing: check the rewards of step 1 and the value estimate of step 3"
        )
    sampler = make_sampler(args.sampling_strategy, weights, chosen, args.seed)
    return (None if loss.weight == "none" else weights), sampler


if __name__ == "__main__":
    run_step(main, Args)
