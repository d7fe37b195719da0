"""Step 4 for the baselines: DPO, reference-free DPO, PRO, PPO and RLOO, on the same rows, updates and validation.

    cd alol_exps
    python alol_step4_train_baseline.py --algorithm dpo --task_name arith
    python alol_step4_train_baseline.py --algorithm pro --task_name arith --seed 1

| algorithm    | learns from                                                    | by               |
|--------------|----------------------------------------------------------------|------------------|
| dpo          | pairs of responses to one prompt, with the reference           | TRL's DPOTrainer |
| dpo_ref_free | the same pairs, without it                                     | TRL's CPOTrainer |
| pro          | the same pairs                                                 | alol/pro.py      |
| ppo, rloo    | answers of its own to the training prompts, which it has scored| alol/ppo.py, TRL |

A batch is --batch_size pairs, or answers. ppo and rloo see more than a log: the reward of any answer they try. dpo,
dpo_ref_free and rloo need `pip install -e ".[alol]"`. Writes the same folder as alol_step4_train_policy.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
from tqdm import tqdm
from tyro.conf import arg

from prompt_oirl.alol import processes
from prompt_oirl.alol.checkpoints import make_trainable
from prompt_oirl.alol.options import LengthOptions, ModelOptions, TrainingOptions
from prompt_oirl.alol.pairs import make_pairs
from prompt_oirl.alol.policies import save_policy, validation_score
from prompt_oirl.alol.ppo import PPORecipe, train_ppo
from prompt_oirl.alol.pro import train_pro
from prompt_oirl.alol.rows import FINAL, encode_rows
from prompt_oirl.alol.selection import BestWeights
from prompt_oirl.alol.trl_baselines import train_trl
from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import Manifest, run_step

PAIRED = ("dpo", "dpo_ref_free", "pro")


@dataclass
class Args(ModelOptions, LengthOptions, TrainingOptions):
    algorithm: Annotated[Literal["dpo", "dpo_ref_free", "pro", "ppo", "rloo"], arg(aliases=["-algo"])] = "dpo"
    """The baseline."""
    beta: float | None = None
    """DPO's temperature (0.1), or weight of the KL penalty of ppo and rloo (0.05)."""
    policy: str | None = None
    """Name of the policy's folder; by default <algorithm>-seed<seed>."""
    validation_prompts: int = 200
    """Validation prompts that a validation answers, once each."""


def main(args: Args) -> None:
    task, device = args.task, processes.device_name()
    beta = args.beta if args.beta is not None else 0.1 if args.algorithm in PAIRED else 0.05
    if not 0 <= beta < 100:
        raise InputError(f"--beta {beta}: give a number of 0 or more")
    rows, validation = args.rows("train"), args.rows("validation")
    source = args.reference
    model_id, limits = source.hash, args.limits(task)
    policy = args.policy or f"{args.algorithm}-seed{args.seed}"
    folder = args.policy_folder(policy)
    if args.validation_prompts < 1:
        raise InputError(f"--validation_prompts {args.validation_prompts}: give 1 or more")
    inputs = [args.data_file(split) for split in ("train", "validation")]
    manifest = Manifest(folder / "step4.json", args.arguments(model=model_id), inputs, args.root)
    if manifest.is_current() and not args.force:
        print(f"{policy}: up to date ({folder})")
        return
    if args.load_in_4bit or args.tuning != "full":
        raise InputError("the baselines train all weights: drop --load_in_4bit and --tuning")
    model, tokenizer = source.load(device)
    model = make_trainable(model, "full", args.lora_rank, args.lora_alpha)
    tokens = encode_rows(rows, tokenizer, limits)
    pairs = make_pairs(rows, args.seed) if args.algorithm in PAIRED else []
    settings = task.settings
    seen = len(pairs) if pairs else len(rows)
    recipe = args.recipe(settings.steps, settings.rate, settings.batch_size, settings.validations, seen, args.seed)  # fmt: skip

    def rewards(places: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        found = task.reward([rows[i] for i in places], texts)
        return np.array([components[FINAL] for components in found], dtype=np.float32)

    selection = BestWeights(
        lambda trained: validation_score(task, trained, tokenizer, validation, limits, args.validation_prompts, args.seed, args.eval_batch_size),
        recipe.eval_every,
    )  # fmt: skip
    with tqdm(total=recipe.steps, desc=f"{task.name} {policy}", disable=None) as bar:
        if args.algorithm == "pro":
            curve = train_pro(model, tokens, pairs, recipe, tokenizer.pad_token_id, selection, bar)
        elif args.algorithm == "ppo":
            curve = train_ppo(
                model, tokenizer, tokens, rewards, limits.max_response_length, recipe, PPORecipe(kl_coefficient=beta), selection, bar
            )  # fmt: skip
        else:
            curve = train_trl(args.algorithm, model, tokenizer, rows, pairs, rewards, limits, recipe, beta, selection, bar)  # fmt: skip
    about = {
        "task": task.name,
        "run": args.run,
        "seed": args.seed,
        "policy": policy,
        "algorithm": args.algorithm,
        "sampling_strategy": "pairs" if pairs else "online" if args.algorithm in ("ppo", "rloo") else "none",
        "kl_beta": beta,
        "recipe": asdict(recipe),
        "rows": seen,
        "steps": recipe.steps,
        "best_step": selection.best_step or recipe.steps,
        "validation": selection.best_score if selection.best_step else None,
        "validation_of_reference": selection.start_score,
    }
    manifest.finish(save_policy(folder, model, tokenizer, curve, about))
    scored = f", validation {selection.best_score:.4f} at update {selection.best_step}" if selection.best_step else ""  # fmt: skip
    print(f"{policy}: {recipe.steps} updates on {seen:,} {'pairs' if pairs else 'rows'}{scored}; in {folder}")


if __name__ == "__main__":
    run_step(main, Args)
