"""Step 3: what reward each prompt deserves to expect, and by how much every logged response beat it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tqdm import tqdm
from tyro.conf import arg

from prompt_oirl.alol.evaluation.responses import answer, reward_responses
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.rows import FINAL, Row, check_at_least, encode_rows, rows_hash
from prompt_oirl.alol.steps.options import LengthOptions, PolicyModelOptions
from prompt_oirl.alol.training import advantages, value_estimate
from prompt_oirl.alol.training.value_estimate import ValueRecipe
from prompt_oirl.io.files import sha256, write_csv, write_json, write_jsonl


@dataclass
class AdvantageOptions(PolicyModelOptions, LengthOptions):
    """How V is estimated."""

    value_samples: int | None = None
    """Responses per validation prompt."""
    value_decoding: Literal["sampled", "greedy"] | None = None
    """By default as published for the published tasks, one response per prompt, greedy (hh) or by two beams:
    V is then the value of answering like that. The others sample."""
    value_epochs: Annotated[int | None, arg(aliases=["-a2c_n", "--a2c_n_value_head_epochs"])] = None
    """Passes of the value head over the validation prompts, at most."""
    value_rate: float | None = None
    """Its learning rate."""
    value: Literal["head", "reward_model"] = "head"
    """head: learned from the reference's responses; reward_model: what step 1 noted from Prompt-OIRL's reward
    model."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the reference's pass; that of step 4, or ratios begin away from one."""


def estimate_advantage(args: AdvantageOptions) -> None:
    """Estimate and write V, A and the reference's log-probabilities, unless they are up to date."""
    task, device = args.task, processes.device_name()
    rows = args.rows("train")
    prompts = list({row.prompt: row for row in args.rows("validation")}.values())
    source = args.reference
    model_id = source.hash
    folder = args.folder / "advantages"
    record = args.folder / "step3.json"
    manifest = args.pending(record, args.learned_files, task.name, folder, model=model_id)
    if manifest is None:
        return
    model, tokenizer = source.load(device)
    limits = args.limits(task)
    head_file = folder / "value_head.safetensors"
    head: value_estimate.ValueHead | np.ndarray
    outputs: list[Path] = []
    if args.value == "head":
        head, outputs = learn_value(args, model, tokenizer, prompts, device, head_file)
    else:
        head = value_estimate.expected_rewards(rows)
        value_estimate.save_values(head_file, head)
    tokens = encode_rows(rows, tokenizer, limits)
    rewards = np.array([row.reward for row in rows])
    with tqdm(total=len(rows), desc=f"{task.name} advantages", disable=None) as bar:
        pad, size = tokenizer.pad_token_id, args.eval_batch_size
        found = advantages.compute(
            model, head, tokens, rewards, pad, device, size, args.precision, bar.update
        )
    key = advantages.cache_key(model_id, sha256(head_file), rows_hash(rows), limits, args.precision)
    cache = folder / f"advantages.{key}.safetensors"
    advantages.save(cache, key, found)
    statistics = advantages.statistics(found, rewards, [row.segment for row in rows])
    table = folder / "advantage_stats.csv"
    write_csv(table, statistics)
    for row in statistics:
        if row["quantity"] == "advantage":
            print(
                f"  {row['segment']:10} {row['n']:7,} rows, advantage {row['mean']:+.3f} ± "
                f"{row['std']:.3f}, {row['share_kept']:.1%} above 0"
            )
    print(f"advantages in {cache}")
    manifest.finish([*outputs, table, head_file, cache])


def learn_value(
    args: AdvantageOptions, model: Any, tokenizer: Any, prompts: list[Row], device: str, head_file: Path
) -> tuple[value_estimate.ValueHead, list[Path]]:
    """The value head, learned from the reference's responses to the prompts, and the files that say how.

    Parameters
    ----------
    args : flags of step 3; the task's settings stand in for those left out
    model, tokenizer : the reference
    prompts : validation rows, one per prompt
    device : where the model is, and the head is trained
    head_file : file of the head; the others are written beside it

    Returns: the head, and generations.jsonl, value_curve.csv and value_summary.json.
    Raises: InputError on a flag out of range, prompts that are all of one group, or a loss that is no number.
    """
    task, settings, limits = args.task, args.task.settings, args.limits(args.task)
    recipe = ValueRecipe(
        epochs=settings.value_epochs if args.value_epochs is None else args.value_epochs,
        learning_rate=settings.value_rate if args.value_rate is None else args.value_rate,
        seed=args.seed,
    )
    search = task.searched(args.value_decoding)
    samples = settings.value_samples if args.value_samples is None else args.value_samples
    check_at_least(1, value_samples=samples)
    samples, title = 1 if search else samples, f"{task.name} responses"
    size = args.eval_batch_size
    responses = answer(task, model, tokenizer, prompts, limits, size, args.seed, samples, search, title)
    components = reward_responses(task, prompts, responses)
    scores = np.array([[c[FINAL] for c in found] for found in components])
    tokens = encode_rows(prompts, tokenizer, replace(limits, long_responses="cut"))
    states = value_estimate.prompt_states(model, tokens, tokenizer.pad_token_id, size, device)
    clusters = [row.cluster for row in prompts]
    fit = value_estimate.fit_value_head(states, scores, clusters, task.max_reward, recipe, device)
    print(
        f"value head: squared error {fit.summary['held_out_mse']:.4f} on {fit.summary['held_out_prompts']} "
        f"held-out prompts, {fit.summary['held_out_mse_of_the_mean']:.4f} by their mean reward alone"
    )
    value_estimate.save_head(head_file, fit.head)
    outputs = [head_file.with_name(n) for n in ("generations.jsonl", "value_curve.csv", "value_summary.json")]
    said = zip(prompts, responses, scores.tolist())
    write_jsonl(
        outputs[0],
        ({"id": r.id, "prompt": r.prompt, "responses": texts, "rewards": found} for r, texts, found in said),
    )
    write_csv(outputs[1], fit.curve)
    write_json(outputs[2], fit.summary)
    return fit.head, outputs
