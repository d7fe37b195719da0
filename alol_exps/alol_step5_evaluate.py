"""Step 5 of A-LoL: what the policies say on test prompts, and how it is rewarded.

    cd alol_exps
    python alol_step5_evaluate.py                      # the reference and every policy of the run
    python alol_step5_evaluate.py --policies a_lol-seed0,nll-seed0 --samples 4
    python alol_step5_evaluate.py --model_name_or_path FOLDER_OR_HUB_ID --policies mine    # any causal model
    python alol_step5_evaluate.py -m huggyllama/llama-7b --adapter_path FOLDER --load_in_4bit --task_name hh

Writes results/alol/<task>/<run>/<policy>/<split>/: predictions.jsonl (every response with its rewards),
metrics.csv (rewards, length, distinct-n, perplexity of the data, 95 % intervals over groups of prompts;
docs/a_lol.md says what each metric is, such as toy's match, the share of letters copied) and policy.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import ModelSource
from prompt_oirl.alol.rows import check_at_least, encode_rows
from prompt_oirl.alol.steps.options import LengthOptions, PolicyModelOptions, check_policy_name
from prompt_oirl.alol.tasks.task import Task
from prompt_oirl.alol.tasks.task_rewards import Rewards
from prompt_oirl.io.files import InputError, write_csv, write_json, write_jsonl
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.manifest import check_finished, run_step


@dataclass
class Args(PolicyModelOptions, LengthOptions):
    """Which policies, on which prompts."""

    policies: str = "all"
    """all (with the reference), or a comma list of folders in policies/ and of `reference`. A name of your
    own goes with --model_name_or_path or --adapter_path."""
    split: Literal["validation", "test"] = "test"
    """Whose prompts."""
    samples: int = 1
    """Responses per prompt."""
    reward_models: str | None = None
    """Published tasks: judge by others than training did, as component=FOLDER_OR_HUB_ID,..."""
    decoding: Literal["sampled", "greedy"] = "sampled"
    """Like the logged responses, or greedy."""
    output_dir: Path | None = None
    """Folder of one policy's results, instead of results/alol/<task>/<run>/<policy>/; step 6 reads only the
    latter."""


def main(args: Args) -> None:
    """Evaluate every policy asked for."""
    check_at_least(1, samples=args.samples)
    if args.samples > 1 and args.decoding == "greedy":
        raise InputError(
            f"--samples {args.samples}: greedy responses are all the same; leave one of the two flags out"
        )
    chosen = models(args)
    if args.output_dir and len(chosen) > 1:
        raise InputError("--output_dir holds one policy: pass --policies NAME")
    for policy, source in chosen.items():
        evaluate(args, policy, source)


def models(args: Args) -> dict[str, ModelSource]:
    """Policies by name, each with its model."""
    folder = args.folder / "policies"
    trained = {p.parent.name: p for p in sorted(folder.glob("*/policy.json"))}
    given = bool(args.model_name_or_path or args.adapter_path)
    if args.policies == "all" and args.adapter_path:
        return {Path(args.adapter_path).name: args.reference}
    asked = [name.strip() for name in args.policies.split(",")]
    if args.policies == "all":
        asked = ["reference", *trained]
    elif given and len(asked) == 1 and asked[0] not in trained:
        check_policy_name("--policies", asked[0])
        return {asked[0]: args.reference}
    found = {}
    for name in asked:
        if name == "reference":
            found[name] = args.reference
        elif name in trained:
            hint = f"train the policy again by step 4, or remove {trained[name].parent}"
            check_finished(trained[name].with_name("step4.json"), args.root, hint)
            about = read_json(trained[name], hint=hint)
            four_bit = bool(about.get("load_in_4bit", args.load_in_4bit))
            found[name] = ModelSource(str(trained[name].parent / "model"), None, four_bit)
        else:
            raise InputError(
                f"--policies {name}: not in {folder}; run alol_step4_train_policy.py, or choose from "
                f"{', '.join(trained)}"
            )
    return found


def evaluate(args: Args, policy: str, source: ModelSource) -> None:
    """Answer the prompts by one policy and write its results, unless they are up to date."""
    task, device = args.task, processes.device_name()
    folder = (args.output_dir or args.results / policy) / args.split
    record, inputs = folder / "manifest.json", [args.data_file(args.split)]
    manifest = args.pending(record, inputs, policy, folder, policies=policy, model=source.hash)
    if manifest is None:
        return
    rows = args.rows(args.split)
    prompts = list({row.prompt: row for row in rows}.values())
    model, tokenizer = source.load(device)
    limits, size = replace(args.limits(task), long_responses="cut"), args.eval_batch_size
    greedy, title = args.decoding == "greedy", f"{task.name} {policy}"
    responses = evaluation.answer(
        task, model, tokenizer, prompts, limits, size, args.seed, args.samples, greedy, title
    )
    if args.reward_models:
        task = judged_by(task, args.reward_models)
    components = evaluation.reward_responses(task, prompts, responses)
    tokens = encode_rows(prompts, tokenizer, limits)
    nll, lengths = evaluation.row_nll(model, tokens, tokenizer.pad_token_id, device, size)
    metrics = evaluation.metric_rows(prompts, responses, components, nll, lengths)
    outputs = [folder / n for n in ("predictions.jsonl", "metrics.csv", "policy.json")]
    write_jsonl(outputs[0], predictions(prompts, responses, components))
    write_csv(outputs[1], metrics)
    write_json(outputs[2], about(args, policy, source))
    manifest.finish(outputs)
    for row in metrics:
        if row["metric"] == task.metric:
            print(
                f"{policy:28} {row['segment']:6} {task.metric} {row['value']:.3f} [{row['ci_low']:.3f}, "
                f"{row['ci_high']:.3f}], n {row['n']}"
            )
    del model
    if device != "cpu":
        torch.cuda.empty_cache()


def judged_by(task: Task, reward_models: str) -> Task:
    """The task with some of its reward models replaced."""
    reward = task.reward
    if not isinstance(reward, Rewards):
        raise InputError(f"--reward_models is for the published tasks, not for {task.name}")
    models = reward.replaced(reward_models, reward.models())
    return replace(task, make_reward=lambda data: partial(reward, models=models))


def predictions(prompts: list, responses: list, components: list) -> Any:
    """Lines of predictions.jsonl, one a response."""
    for row, texts, found in zip(prompts, responses, components):
        for sample, (text, scores) in enumerate(zip(texts, found)):
            line = {"id": row.id, "group": row.cluster, "segment": row.segment, "sample": sample}
            yield line | {"response": text} | scores


def about(args: Args, policy: str, source: ModelSource) -> dict[str, Any]:
    """What was evaluated: step 4's account of the policy, or the name alone."""
    trained = Path(source.name).parent / "policy.json"
    found = read_json(trained, hint="run step 4 again") if trained.is_file() else {}
    named = {"task": args.task.name, "run": args.run, "policy": policy, "algorithm": policy}
    return named | {"seed": args.seed} | found


if __name__ == "__main__":
    run_step(main, Args)
