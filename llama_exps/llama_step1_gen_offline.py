"""Step 1: ask an LLM every question with every prompt, grade the answers, and keep them as a log.

    cd llama_exps
    torchrun --nproc_per_node 1 llama_step1_gen_offline.py \\
        --ckpt_dir llama-2-7b-chat/ --tokenizer_path tokenizer.model --prompt_idx 0 --dataset_eval gsm8k
    torchrun --nproc_per_node 4 llama_step1_gen_offline.py --ckpt_dir FOLDER_OR_HUB_ID --dataset_eval svamp
    python llama_step1_gen_offline.py --backend openai --model gpt-3.5-turbo --dataset_eval mawps --dry_run
    python llama_step1_gen_offline.py --backend openai --model gpt-4o --dataset_eval svamp --plan plan.jsonl

Stopped or killed at any moment, the same command resumes where it was, with any number of processes, and pays
for nothing twice. Writes LM<llm>/<dataset>_interactions.jsonl and _labels.csv; continue with
`python llama_step2_reorg_data.py --llm <llm> --dataset <dataset>`.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from prompt_oirl import grading
from prompt_oirl.data import log_store, questions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import PUBLISHED, choose_prompts, load_prompts
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, is_file_name
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms import Decoding, before_asking, generation
from prompt_oirl.llms.generation import LogSettings
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.llms.planned import planned_items


@dataclass
class Args(ModelOptions, BudgetOptions):
    dataset_eval: str = "gsm8k"
    """gsm8k, svamp, mawps, arith, or any name with --questions."""
    prompt_idx: str = "all"
    """all, or places counted from 0 such as 3, 0-5 or 1,3; training prompts come first, then in the order of
    --prompts."""
    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 0.9
    """Nucleus."""
    max_gen_len: int | None = None
    """Tokens of an answer; none: whatever max_seq_len leaves."""
    split: Literal["both", "train", "test", "validation"] = "both"
    """Which questions; both is train and test. Held-out prompts are not asked on training questions."""
    samples: int = 1
    """Answers per question and prompt."""
    limit: int | None = None
    """Only the first so many questions of each split."""
    questions: Path | None = None
    """Own questions: JSONL or CSV with question, gold and optionally id, split (default test), kind of the
    gold (number, the default, choice, bool or text), group. Name them with --dataset_eval."""
    prompts: Path = PUBLISHED
    """CSV of prompts (columns prompt_id, role, position, text)."""
    llm: str | None = None
    """Name of the log; default: the model's name."""
    grader: Literal["strict", "original", "math"] = "strict"
    """Whose verdict models are trained on; strict and original are logged in any case. math also compares
    formulas: pip install 'prompt-oirl[math]'."""
    seed: int = 0
    """Seed of the sampling noise; each answer draws its own from it."""
    plan: Path | None = None
    """Ask exactly what `prompt-oirl plan` wrote, and nothing else."""
    dry_run: bool = False
    """Print calls, tokens and cost, and stop."""
    root: Path = REPO_ROOT
    """Folder that holds data/ and llama_exps/."""


def main(args: Args) -> None:
    for flag, most in (("samples", 1000), ("limit", 10**9)):
        value = getattr(args, flag)
        if value is not None and not 1 <= value <= most:
            raise InputError(f"--{flag} {value}: give 1 to {most}")
    args.check()
    grading.check(args.grader)
    name = args.llm or args.name()
    for flag, given in (("llm", name), ("dataset_eval", args.dataset_eval)):
        if not is_file_name(given):
            raise InputError(f"--{flag} {given!r}: give letters, digits, _ - . only, and not 'all'")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    files = LogFiles(Paths(args.root).labels(name), args.dataset_eval)
    with files.lock() if rank == 0 and not args.dry_run else nullcontext():
        generate(args, name, files, rank, world)


def generate(args: Args, name: str, files: LogFiles, rank: int, world: int) -> None:
    """Ask for what is pending for this rank; rank 0 then merges what all have appended."""
    decoding = Decoding(args.temperature, args.top_p, args.max_gen_len, args.seed)
    separator = questions.SEPARATORS.get(args.dataset_eval, "\n")
    settings = LogSettings(name, args.dataset_eval, decoding, args.grader, separator)
    prompts = load_prompts(args.prompts)
    asked = chosen_questions(args)
    planned = planned_items(args.plan, asked, prompts, name) if args.plan else None
    samples = max([args.samples, *[item.sample + 1 for item in planned or ()]])
    order = generation.all_items(asked, prompts, samples)
    logged = list(files.rows())
    before_asking.check_log(logged, settings, order, files.merged)
    wanted = {p.id for p in choose_prompts(args.prompt_idx, prompts)}
    done = {log_store.row_key(row) for row in logged}
    place = {question.id: i for i, question in enumerate(asked)}
    to_ask = order if planned is None else planned
    todo = (item for item in to_ask if item.prompt.id in wanted and item.key not in done)
    pending = [(place[item.question.id], item) for item in todo]
    budget = args.budget(rank, world)
    for row in logged:
        budget.expect(row.tokens_in or 0, row.tokens_out or 0)
    if args.dry_run:
        if rank == 0:
            items = [item for _, item in pending]
            print(before_asking.estimate(items, logged, budget, args.max_gen_len, args.in_flight()))
        return
    if rank == 0:
        files.check_model(args.identity())
    if world > 1:
        import torch.distributed as dist

        dist.init_process_group("gloo", timeout=timedelta(days=30))
        dist.barrier()  # everyone has read the log before anyone writes
    failures: Counter[str] = Counter()
    refused: InputError | None = None
    if mine := [item for i, item in pending if i % world == rank]:
        bar: dict[str, Any] = {
            "desc": f"{name} {args.dataset_eval}",
            "disable": rank > 0 or None,
            "smoothing": 0.05,
        }
        llm = args.load(files=files)
        try:
            failures = generation.answer_items(mine, llm, settings, budget, files.part(rank), **bar)
        except InputError as error:  # of the server; what was paid for joins the log first
            refused = error
    if world > 1:
        dist.barrier()
    if rank == 0:
        report(log_store.merge(files, [item.key for item in order]), files, name, args.prompts)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    if refused:
        raise refused
    generation.check_complete(failures)


def chosen_questions(args: Args) -> list[questions.Question]:
    """The questions that the flags name, at most `limit` of each split."""
    if args.questions:
        asked = questions.load_own_questions(args.questions, args.dataset_eval)
    elif args.dataset_eval in questions.DATASETS:
        asked = questions.load_questions(args.dataset_eval, Paths(args.root))
    else:
        raise InputError(
            f"--dataset_eval {args.dataset_eval}: choose {', '.join(questions.DATASETS)}, or give your own "
            "--questions FILE"
        )
    kept = []
    for split in questions.SPLITS:
        if args.split == split or (args.split == "both" and split != "validation"):
            kept += [q for q in asked if q.split == split][: args.limit]
    if not kept:
        found = ", ".join(sorted({q.split for q in asked}))
        raise InputError(f"--split {args.split}: no such questions; these are of split {found}")
    return kept


def report(rows: list[LogRow], files: LogFiles, name: str, prompts: Path) -> None:
    """Per prompt: answers, success, and how many were cut by the token limit, which reads like failing."""
    if not rows:
        print(f"no answers yet in {files.merged}")
        return
    print(f"{len(rows):,} answers in {files.merged}")
    for prompt in dict.fromkeys(row.prompt_id for row in rows):
        of_prompt = [row for row in rows if row.prompt_id == prompt]
        right = sum(row.correct for row in of_prompt) / len(of_prompt)
        cut = sum(row.finish_reason == "length" for row in of_prompt) / len(of_prompt)
        rates = f"{right:6.1%} right  {cut:6.1%} cut by the token limit"
        print(f"  {prompt:12} {len(of_prompt):7,} answers  {rates}")
    blank = Counter(row.finish_reason for row in rows if row.refusal)
    for reason, count in blank.most_common():
        more = "; use a larger --max_gen_len and another --llm name" if reason == "length" else ""
        print(f"  {count:,} answers not given ({reason}), which counts as wrong; `refusal` says why{more}")
    no_room = sum(row.tokens_out == 0 and row.finish_reason == "length" and not row.refusal for row in rows)
    if no_room:
        print(
            f"  {no_room:,} questions left no room for an answer: use a larger --max_seq_len and another "
            "--llm name"
        )
    splits = {row.split for row in rows}
    if "train" in splits and "test" in splits:
        own = "" if prompts == PUBLISHED else f" --prompts {prompts}"
        print(f"Next: python llama_step2_reorg_data.py --llm {name} --dataset {files.dataset}{own}")
    else:
        print(
            "Steps 2 to 5 need questions of split train and of split test; these are all " + ", ".join(splits)
        )


if __name__ == "__main__":
    run_step(main, Args)
