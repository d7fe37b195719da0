"""Step 5: what policies say on held-out prompts, how it is rewarded, and the files that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.evaluation import text_overlap
from prompt_oirl.alol.models import processes
from prompt_oirl.alol.models.checkpoints import ModelSource
from prompt_oirl.alol.rows import FINAL, Row, check_at_least, encode_rows
from prompt_oirl.alol.steps.options import LengthOptions, PolicyModelOptions, check_policy_name
from prompt_oirl.alol.steps.policy_card import write_policy_card
from prompt_oirl.alol.tasks import hh
from prompt_oirl.alol.tasks.task import GREEDY, Search, Task
from prompt_oirl.alol.tasks.task_rewards import Rewards
from prompt_oirl.io.files import InputError, write_csv, write_json, write_jsonl
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.manifest import check_finished


@dataclass
class EvaluationOptions(PolicyModelOptions, LengthOptions):
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
    decoding: Literal["sampled", "greedy"] | None = None
    """Sampled like the logged responses, or greedy; by default as published for the published tasks (hh:
    greedy; others: two beams, repetition penalty 2.5), sampled for the others."""
    num_beams: int | None = None
    """Beams of a beam search, instead of sampling."""
    repetition_penalty: float | None = None
    """Of the beam search; 1: none."""
    prompt_format: Literal["task", "ppo_hh"] = "task"
    """hh: ppo_hh asks as ppo_hh_eval.py does, "Human: ... Assistant:" without a preamble, 384 tokens."""
    meteor: bool = False
    """Also METEOR against the logged response (NLTK and its WordNet)."""
    output_dir: Path | None = None
    """Folder of one policy's results, instead of results/alol/<task>/<run>/<policy>/; step 6 reads only the
    latter."""

    def search(self, task: Task) -> Search | None:
        """How responses are searched for; None: sampled."""
        found = task.searched(self.decoding)
        flags: dict[str, Any] = {"num_beams": self.num_beams, "repetition_penalty": self.repetition_penalty}
        given = {name: value for name, value in flags.items() if value is not None}
        if given and self.decoding:
            raise InputError(
                f"--decoding {self.decoding}: leave it out with --num_beams and --repetition_penalty"
            )
        check_at_least(1, **given)
        if given:
            found = replace(found or GREEDY, **given)
        if found and self.samples > 1:
            raise InputError(
                f"--samples {self.samples}: responses that are not sampled are all the same; pass --decoding "
                "sampled, or leave --samples out"
            )
        return found


def evaluate_policies(args: EvaluationOptions) -> None:
    """Evaluate every policy asked for."""
    check_at_least(1, samples=args.samples)
    args.search(args.task)
    if args.prompt_format != "task" and args.task.name != hh.TASK.name:
        raise InputError(f"--prompt_format {args.prompt_format} is for hh, not for {args.task_name}")
    chosen = models(args)
    if args.output_dir and len(chosen) > 1:
        raise InputError("--output_dir holds one policy: pass --policies NAME")
    for policy, source in chosen.items():
        evaluate(args, policy, source)


def models(args: EvaluationOptions) -> dict[str, ModelSource]:
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


def evaluate(args: EvaluationOptions, policy: str, source: ModelSource) -> None:
    """Answer the prompts by one policy and write its results, unless they are up to date."""
    task, device = args.task, processes.device_name()
    folder = (args.output_dir or args.results / policy) / args.split
    record, inputs = folder / "manifest.json", [args.data_file(args.split)]
    manifest = args.pending(record, inputs, policy, folder, policies=policy, model=source.hash)
    if manifest is None:
        return
    rows = args.rows(args.split)
    if args.prompt_format == "ppo_hh":
        task, rows = hh.in_ppo_format(task, rows)
    prompts = list({row.prompt: row for row in rows}.values())
    model, tokenizer = source.load(device)
    limits, size = replace(args.limits(task), long_responses="cut"), args.eval_batch_size
    search, title = args.search(task), f"{task.name} {policy}"
    responses = evaluation.answer(
        task, model, tokenizer, prompts, limits, size, args.seed, args.samples, search, title
    )
    read = [[task.as_read(text) for text in texts] for texts in responses]
    if args.reward_models:
        task = judged_by(task, args.reward_models)
    components = evaluation.reward_responses(task, prompts, responses)
    components = with_overlap(components, prompts, read, args.meteor)
    tokens = encode_rows(prompts, tokenizer, limits)
    nll, lengths = evaluation.row_nll(model, tokens, tokenizer.pad_token_id, device, size)
    metrics = evaluation.metric_rows(prompts, read, components, nll, lengths)
    outputs = [folder / n for n in ("predictions.jsonl", "metrics.csv", "policy.json")]
    write_jsonl(outputs[0], predictions(prompts, responses, components))
    write_csv(outputs[1], metrics)
    told = about(args, policy, source)
    write_json(outputs[2], told)
    if Path(source.name).with_name("policy.json").is_file() and args.split == "test":
        write_policy_card(Path(source.name), told, metrics)
    if task.name == hh.TASK.name:
        outputs += write_published(folder, prompts, read, components)
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


def with_overlap(
    components: Sequence[Sequence[dict[str, float]]],
    prompts: Sequence[Row],
    read: Sequence[Sequence[str]],
    meteor: bool,
) -> list[list[dict[str, float]]]:
    """The rewards of every response with its `coverage` and `density` where the row holds knowledge, and its
    `meteor` if asked for.

    Parameters
    ----------
    components : of each response its rewards, n lists of one length
    prompts : n rows
    read : the responses as the reward reads them, nested like `components`
    meteor : see `--meteor`
    """
    found = []
    for row, texts, scored in zip(prompts, read, components):
        more: list[dict[str, float]] = [{} for _ in texts]
        if knowledge := row.meta.get("knowledge"):
            more = [text_overlap.coverage_and_density(knowledge, text) for text in texts]
        if meteor:
            scores = text_overlap.meteor([row.response] * len(texts), texts)
            more = [{**one, "meteor": score} for one, score in zip(more, scores)]
        found.append([{**own, **one} for own, one in zip(scored, more)])
    return found


def write_published(
    folder: Path,
    prompts: Sequence[Row],
    read: Sequence[Sequence[str]],
    components: Sequence[Sequence[dict[str, float]]],
) -> list[Path]:
    """Write <segment>_eval_results.jsonl, lines {prefix, suffix, reward} as published; returns the files.

    Parameters
    ----------
    folder : where they go
    prompts : n rows
    read : their responses as the reward reads them
    components : rewards of the responses, nested like `read`
    """
    files = []
    for segment in dict.fromkeys(row.segment for row in prompts):
        lines = [
            {"prefix": row.prompt, "suffix": text, "reward": scores[FINAL]}
            for row, texts, found in zip(prompts, read, components)
            for text, scores in zip(texts, found)
            if row.segment == segment
        ]
        files.append(folder / f"{segment}_eval_results.jsonl")
        write_jsonl(files[-1], lines)
    return files


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


def about(args: EvaluationOptions, policy: str, source: ModelSource) -> dict[str, Any]:
    """What was evaluated: step 4's account of the policy, or the name alone."""
    trained = Path(source.name).parent / "policy.json"
    found = read_json(trained, hint="run step 4 again") if trained.is_file() else {}
    named = {"task": args.task.name, "run": args.run, "policy": policy, "algorithm": policy}
    return named | {"seed": args.seed} | found
