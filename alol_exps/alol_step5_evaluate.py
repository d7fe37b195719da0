"""Step 5 of A-LoL: what the policies say on test prompts, and how it is rewarded.

    cd alol_exps
    python alol_step5_evaluate.py                                        # the reference and every policy of the run
    python alol_step5_evaluate.py --policies a_lol-seed0,nll-seed0 --samples 4
    python alol_step5_evaluate.py --model_name_or_path FOLDER_OR_HUB_ID --policies mine    # any causal model

Writes results/alol/<task>/<run>/<policy>/<split>/: predictions.jsonl (every response with its rewards), metrics.csv
(rewards, length, distinct-n, perplexity of the data, 95 % intervals over groups of prompts) and policy.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tqdm import tqdm
from tyro.conf import arg

from prompt_oirl.alol import evaluation
from prompt_oirl.alol.checkpoints import device_name, load_model, model_hash
from prompt_oirl.alol.options import LengthOptions, RunOptions
from prompt_oirl.alol.rows import encode_rows
from prompt_oirl.alol.task_rewards import Rewards
from prompt_oirl.alol.tasks import Task
from prompt_oirl.artifacts import InputError, read_json, write_csv, write_json, write_jsonl
from prompt_oirl.steps import Manifest, run_step


@dataclass
class Args(RunOptions, LengthOptions):
    policies: str = "all"
    """all (with the reference), or a comma list of folders in policies/ and of `reference`."""
    model_name_or_path: Annotated[str | None, arg(aliases=["-m", "--model_name"])] = None
    """Evaluate this model instead, under the one name that --policies gives; with `reference` or all: the reference."""
    split: Literal["validation", "test"] = "test"
    """Whose prompts."""
    samples: int = 1
    """Responses per prompt."""
    reward_models: str | None = None
    """Published tasks: judge by others than training did, as component=FOLDER_OR_HUB_ID,..."""
    decoding: Literal["sampled", "greedy"] = "sampled"
    """Like the logged responses, or greedy."""


def main(args: Args) -> None:
    if args.samples < 1:
        raise InputError(f"--samples {args.samples}: give 1 or more")
    for policy, name in models(args).items():
        evaluate(args, policy, name)


def models(args: Args) -> dict[str, str]:
    """Policies by name, each with its model's folder or hub id."""
    folder = args.folder / "policies"
    trained = {p.parent.name: str(p.parent / "model") for p in sorted(folder.glob("*/policy.json"))}
    if args.policies == "all":
        return {"reference": args.reference(args.model_name_or_path)} | trained
    asked = [name.strip() for name in args.policies.split(",")]
    if args.model_name_or_path and len(asked) == 1 and asked[0] not in trained:
        return {asked[0]: args.model_name_or_path}
    found = {}
    for name in asked:
        if name == "reference":
            found[name] = args.reference(args.model_name_or_path)
        elif name in trained:
            found[name] = trained[name]
        else:
            raise InputError(
                f"--policies {name}: not in {folder}; run alol_step4_train_policy.py, or choose from {', '.join(trained)}"
            )
    return found  # fmt: skip


def evaluate(args: Args, policy: str, name: str) -> None:
    task, device = args.task, device_name()
    folder = args.results / policy / args.split
    arguments = args.arguments(policies=policy, model=model_hash(name))
    manifest = Manifest(folder / "manifest.json", arguments, [args.data_file(args.split)], args.root)
    if manifest.is_current() and not args.force:
        print(f"{policy}: up to date ({folder})")
        return
    rows = args.rows(args.split)
    prompts = list({row.prompt: row for row in rows}.values())
    model, tokenizer = load_model(name, device)
    limits = replace(args.limits(task), long_responses="cut")
    llm = evaluation.llm_of(model, tokenizer, limits, args.eval_batch_size)
    greedy = args.decoding == "greedy"
    tokens = encode_rows(prompts, tokenizer, limits)
    decoding = task.decoding(args.seed, limits.max_response_length, greedy)
    samples = 1 if greedy else args.samples
    with tqdm(total=len(prompts) * samples, desc=f"{task.name} {policy}", disable=None) as bar:
        responses = evaluation.respond(llm, prompts, tokens, decoding, samples, bar.update)
    if args.reward_models:
        task = judged_by(task, args.reward_models)
    components = evaluation.reward_responses(task, prompts, responses)
    nll, lengths = evaluation.row_nll(model, tokens, tokenizer.pad_token_id, device, args.eval_batch_size)
    metrics = evaluation.metric_rows(prompts, responses, components, nll, lengths)
    outputs = [folder / n for n in ("predictions.jsonl", "metrics.csv", "policy.json")]
    write_jsonl(outputs[0], predictions(prompts, responses, components))
    write_csv(outputs[1], metrics, evaluation.METRICS)
    write_json(outputs[2], about(args, policy, name))
    manifest.finish(outputs)
    for row in metrics:
        if row["metric"] == task.metric:
            print(
                f"{policy:28} {row['segment']:6} {task.metric} {row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}], n {row['n']}"
            )
    del model, llm
    if device != "cpu":
        torch.cuda.empty_cache()  # fmt: skip


def judged_by(task: Task, reward_models: str) -> Task:
    """The task with some of its reward models replaced."""
    if not isinstance(task.reward, Rewards):
        raise InputError(f"--reward_models is for the published tasks, not for {task.name}")
    models = task.reward.replaced(reward_models, task.reward.models())
    return replace(task, reward=partial(task.reward, models=models))


def predictions(prompts: list, responses: list, components: list) -> Any:
    for row, texts, found in zip(prompts, responses, components):
        for sample, (text, scores) in enumerate(zip(texts, found)):
            yield {
                "id": row.id,
                "group": row.cluster,
                "segment": row.segment,
                "sample": sample,
                "response": text,
            } | scores


def about(args: Args, policy: str, name: str) -> dict[str, Any]:
    """What was evaluated: step 4's account of the policy, or the name alone."""
    trained = Path(name).parent / "policy.json"
    found = read_json(trained, remedy="run step 4 again") if trained.is_file() else {}
    return {
        "task": args.task.name,
        "run": args.run,
        "policy": policy,
        "algorithm": policy,
        "seed": args.seed,
    } | found


if __name__ == "__main__":
    run_step(main, Args)
