"""Written prompts against the fixed pool, the LLM really answering, at equal numbers of LLM calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import UseAppendAction

from prompt_oirl.alol.evaluation import best_of_n, responses
from prompt_oirl.alol.models.checkpoints import ModelSource
from prompt_oirl.alol.models.processes import device_name
from prompt_oirl.alol.rewards import log_reward
from prompt_oirl.alol.rows import Limits, Row, check_at_least
from prompt_oirl.alol.steps.options import PolicyModelOptions
from prompt_oirl.alol.tasks import prompt_writer
from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import cut_torn_line
from prompt_oirl.data.prompts import Prompt, prompt_id
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.llms import generation
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.pipeline.live import decoding_of, log_settings
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.stats.metrics import format_interval

CALLS = (1, 3)


@dataclass
class WriterOptions(PolicyModelOptions):
    """Which writers, on how many questions, with how many prompts each."""

    task_name: str = "prompt_writer"
    """prompt_writer."""
    writers: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """`reference` or a comma list of policies that differ by seed only; repeatable. Default: all policies as
    one."""
    samples: int = 4
    """Prompts that a writer proposes for a question."""
    questions: int | None = None
    """Test questions at most, in their order."""
    log: Path | None = None
    """The log of step 1."""
    ckpt_dir: Path | None = None
    """The LLM that answered it; by default data/nano_llama."""
    output: Path | None = None
    """The table."""
    keep: bool = False
    """Also keep it as results/reference/alol_prompt_writer.csv and fill the table of docs/a_lol_tasks.md."""

    @property
    def teams(self) -> dict[str, list[str]]:
        """Writers that count as one, by their common name; by default all policies that step 4 left."""
        policies = self.folder / "policies"
        left = ",".join(sorted(path.parent.name for path in policies.glob("*/policy.json")))
        if not (self.writers or left):
            raise InputError(f"no policy in {policies}: run alol_step4_train_policy.py first")
        groups = [[name.strip() for name in group.split(",")] for group in self.writers or [left]]
        return {names[0].split("-seed")[0]: names for names in groups}


def evaluate_writers(args: WriterOptions) -> None:
    """Propose, rank and really ask; write the table of success by arm and number of calls."""
    check_at_least(1, samples=args.samples, questions=args.questions)
    paths = Paths(args.root)
    log = args.log or paths.committed_log("nano", "arith")
    splits = prompt_writer.read_log(log, args.seed)
    rows = args.rows("test")[: args.questions]
    logged = {row.question_id: row for row in splits["test"]}
    questions = [
        Question(q.question_id, q.question, q.gold, "test", group=q.group)
        for q in (logged[row.meta["question_id"]] for row in rows)
    ]
    reward_model = log_reward.load(args.folder / "data" / prompt_writer.JUDGE)
    proposals = propose(args, splits["train"], splits["test"], questions, rows)
    texts = [q.text for q in questions]
    rankings = {key: best_of_n.ranked(reward_model, texts, found) for key, found in proposals.items()}
    wanted = {
        (q.id, prompt): q
        for ranking in rankings.values()
        for q, best in zip(questions, ranking)
        for prompt, _ in best[: max(CALLS)]
    }
    answers, unlogged = answer(args, paths, splits["test"], wanted)
    arms = measured(args, rankings, [q.id for q in questions], [answers[q.id] for q in questions], unlogged)
    table = best_of_n.table(arms, [row.cluster for row in rows], args.seed)
    output = args.output or args.results / "prompt_writer.csv"
    write_csv(output, table)
    if args.keep:
        kept = REPO_ROOT / "results" / "reference" / "alol_prompt_writer.csv"
        write_csv(kept, table)
        fill_tables(REPO_ROOT, {"alol_prompt_writer": render(read_csv(kept, hint=""))})
    for row in table:
        success = format_interval(row["success"], row["ci_low"], row["ci_high"])
        gain = format_interval(row["gain_over_pool"], row["gain_ci_low"], row["gain_ci_high"], points=True)
        print(
            f"{row['calls']} calls  {row['arm']:20} {row['writer']:10} {success}, over the pool {gain} points"
        )
    print(f"table in {output}")


def propose(
    args: WriterOptions,
    train: list[LogRow],
    test: list[LogRow],
    questions: list[Question],
    rows: list[Row],
) -> dict[tuple[str, str], list[list[str]]]:
    """Candidates of every question, by arm and writer.

    Parameters
    ----------
    args : names the writers, and how many prompts they write for a question
    train, test : the log's rows, see `prompt_writer.read_log`; the pool is the prompts that both training and
        test questions were asked with
    questions : n test questions
    rows : the same questions as writers read them

    Returns: by arm and writer (empty for an arm without one), n lists of prompts.
    Raises: InputError if the pool has fewer than two prompts, or a writer is missing.
    """
    # The pool: prompts that training questions of the log were asked with, and test questions too.
    verdicts: dict[str, list[float]] = {}
    for row in train:
        if row.split == "train":
            verdicts.setdefault(row.prompt, []).append(row.correct)
    means = {p: float(np.mean(found)) for p, found in verdicts.items() if p in {row.prompt for row in test}}
    pool = list(means)
    if len(pool) < 2:
        raise InputError(
            "the log's training and test questions share fewer than two prompts: there is no pool"
        )
    everything = list(dict.fromkeys(row.prompt for row in train))
    n = len(questions)
    found = {
        ("best single prompt", ""): [[max(pool, key=lambda p: means[p])]] * n,
        ("pool", ""): [pool] * n,
        ("all logged prompts", ""): [everything] * n,
    }
    for name in chain.from_iterable(args.teams.values()):
        written = write_prompts(args, name, rows)
        found["writer's first", name] = [said[:1] for said in written]
        found["written", name] = written
        found["pool and written", name] = [pool + said for said in written]
    return found


def write_prompts(args: WriterOptions, name: str, rows: list[Row]) -> list[list[str]]:
    """`samples` prompts for every question by one writer.

    Parameters
    ----------
    args : says where policies are, how many prompts to write, and the seed
    name : a policy of step 4, or `reference`
    rows : n questions as the writer reads them

    Returns: n lists of texts.
    Raises: InputError if there is no such policy.
    """
    folder = args.folder / "policies" / name / "model"
    if name != "reference" and not folder.is_dir():
        raise InputError(
            f"--writers {name}: not in {args.folder / 'policies'}; run alol_step4_train_policy.py"
        )
    task = args.task
    source = args.reference if name == "reference" else ModelSource(str(folder))
    model, tokenizer = source.load(device_name())
    limits, title = Limits(task.max_prompt_length, task.max_response_length), f"prompts of {name}"
    size, seed = args.eval_batch_size, args.seed
    return responses.answer(task, model, tokenizer, rows, limits, size, seed, args.samples, title=title)


def answer(
    args: WriterOptions, paths: Paths, test: list[LogRow], wanted: dict[tuple[str, str], Question]
) -> tuple[dict[str, dict[str, best_of_n.Answer]], set[tuple[str, str]]]:
    """Answers from the log, an earlier run, or the LLM now; and which of those wanted the log lacked.

    Parameters
    ----------
    args : names the LLM; its folder of results keeps new answers, in answers.jsonl
    paths : where the LLM is by default
    test : the log's test rows, of which those with the sample number of the first row are read
    wanted : by question id and prompt, the question to be answered

    Returns: answers by question id and prompt; (question id, prompt) of those that are not in the log.
    Raises: InputError if the LLM is needed and the log does not say how it was decoded, or if answers are
        missing in the end.
    """
    part = args.results / "answers.jsonl"
    first = test[0]
    kept = [row for row in test if row.sample == first.sample]
    in_log = {(row.question_id, row.prompt) for row in kept}
    cut_torn_line(part)
    kept += interactions.read(part, hint="delete it") if part.is_file() and part.stat().st_size else []
    have = {(row.question_id, row.prompt) for row in kept}
    pending = [
        generation.Item(question, Prompt(prompt_id(prompt), prompt), first.sample)
        for (_, prompt), question in wanted.items()
        if (question.id, prompt) not in have
    ]
    if pending:
        llm = TransformersLLM(str(args.ckpt_dir or paths.root / "data" / "nano_llama"), max_batch_size=64)
        settings = log_settings(test, decoding_of(test, part))
        failures = generation.answer_items(pending, llm, settings, Budget(), part, desc="answers")
        generation.check_complete(failures)
        kept += interactions.read(part, hint="delete it")
    found: dict[str, dict[str, best_of_n.Answer]] = {}
    for row in kept:
        found.setdefault(row.question_id, {}).setdefault(row.prompt, (row.answer or "", float(row.correct)))
    return found, {key for key in wanted if key not in in_log}


def measured(
    args: WriterOptions,
    rankings: dict,
    ids: list[str],
    answers: list[dict[str, best_of_n.Answer]],
    unlogged: set[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Success of every question, by arm, number of calls and group of writers.

    Parameters
    ----------
    args : names the groups of writers
    rankings : by arm and writer, what `best_of_n.ranked` returns for n questions
    ids : their question ids
    answers : of each of them, the answer to each prompt
    unlogged : (question id, prompt) of answers that the log lacked

    Returns: arms for `best_of_n.table`. `candidates` is their mean number per question, `unlogged` the share
        of the prompts used whose answers the log lacked.
    """
    arms = []
    for calls in CALLS:
        for arm in dict.fromkeys(name for name, _ in rankings):
            for team, names in ({"": [""]} | args.teams).items():
                lists = [rankings[arm, name] for name in names if (arm, name) in rankings]
                if not lists or (calls > 1 and arm in ("best single prompt", "writer's first")):
                    continue
                used = [(i, p) for found in lists for i, best in zip(ids, found) for p, _ in best[:calls]]
                about: dict[str, Any] = {"arm": arm, "writer": team, "calls": calls}
                about["candidates"] = float(np.mean([len(best) for found in lists for best in found]))
                about["unlogged"] = float(np.mean([key in unlogged for key in used]))
                about["values"] = np.array([best_of_n.outcome(found, calls, answers) for found in lists])
                arms.append(about)
    return arms


def render(rows: list[dict[str, str]]) -> str:
    """The table as docs/a_lol_tasks.md quotes it."""
    header = [
        "LLM calls",
        "candidates from",
        "candidates",
        "not in the log",
        "right",
        "over the pool, points",
    ]
    lines = []
    for row in rows:
        writer = f" ({row['writer']}, {row['writers']} seeds)" if row["writer"] else ""
        arm = row["arm"] + writer.replace(", 1 seeds", "")
        counts = [f"{float(row['candidates']):.1f}", f"{100 * float(row['unlogged']):.0f} %"]
        success = format_interval(row["success"], row["ci_low"], row["ci_high"])
        gain = format_interval(row["gain_over_pool"], row["gain_ci_low"], row["gain_ci_high"], points=True)
        lines.append([row["calls"], arm, *counts, success, gain])
    return markdown(header, lines)
