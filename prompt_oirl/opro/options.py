"""Options that all steps of OPRO share: which task, which answers, which model answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from prompt_oirl import grading
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.llms import LLM
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs, tasks
from prompt_oirl.opro.loop import LoopSettings
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.paraphrase import Paraphraser
from prompt_oirl.opro.prompt_rewards import RewardSettings
from prompt_oirl.opro.proposals import Proposer, choose_optimizer
from prompt_oirl.opro.scorers import LLMScorer
from prompt_oirl.opro.search_proposer import PhraseSearch, SearchSpace
from prompt_oirl.opro.shared_log import SharedLog, Spending, run_key


@dataclass(kw_only=True)
class StepOptions:
    """Task, log and scorer of a step of OPRO."""

    task: str = "arith"
    """gsm8k, svamp, mawps, arith, multiarith, aqua, bbh_<task>, mmlu_<category or subject>, or any name
    with --questions."""
    questions: Path | None = None
    """Own questions: JSONL or CSV with question and gold and optionally id, split, kind (number, choice,
    bool, text), group."""
    max_gen_len: int | None = 256
    """Tokens of a scorer's answer."""
    second_round: bool = False
    """Ask again for the final answer, behind the first one: for pre-trained scorers (local models)."""
    llm: str | None = None
    """Name of the scorer's log; default: the model's name."""
    known_log: tuple[Path, ...] = ()
    """More logs, JSONL or Parquet, whose answers count if they are of the same llm and decoding."""
    validation_size: int = 50
    """Questions that choose the winner; 0: the best on train wins, as published. With the same sizes and seed
    all steps have the same parts."""
    test_size: int | float = 200
    """Questions that evaluate the winner; with a decimal point a share of those left, 1.0 is all."""
    root: Path = REPO_ROOT
    """Folder that holds data/, opro_exps/ and results/."""
    scorer: ModelOptions = field(default_factory=ModelOptions)

    @property
    def scorer_name(self) -> str:
        """Name of the language model that answers, as logs and tables have it."""
        return self.llm or self.scorer.name()

    def load_task(self) -> tasks.QuestionTask:
        """The task with all of its questions."""
        return tasks.load_task(self.task, Paths(self.root), self.questions)

    def results(self, run: str) -> Path:
        """Folder of a run's tables."""
        return Paths(self.root).opro_results(self.task, run)

    def decoding(self, temperature: float = 0.0) -> Decoding:
        """How answers are drawn; temperature 0 is greedy."""
        return Decoding(temperature, 1.0, self.max_gen_len, 0)

    @contextmanager
    def held_log(self, folder: Path, *key: str) -> Iterator[SharedLog]:
        """The interaction log of scorer and task, while this process alone works in `folder`.

        `key` tells apart several steps that work in one folder.
        Raises: InputError if another process holds the folder, or the log is of another model.
        """
        if self.second_round and self.scorer.backend != "transformers":
            raise InputError(
                "--second_round continues the scorer's own answer, which a chat server does not offer: leave "
                "it out, or give a local model with --scorer.ckpt_dir"
            )
        files = LogFiles(Paths(self.root).opro_log(self.scorer_name), self.task)
        log = SharedLog(files, run_key(folder.resolve(), *key))
        with runs.held_folder(folder), log.held():
            runs.check_model(log.files, self.scorer, self.second_round)
            yield log

    def measuring_scorer(
        self,
        task: tasks.QuestionTask,
        log: SharedLog,
        budget: Budget,
        spending: Spending,
        decoding: Decoding,
        grader: str = "strict",
    ) -> LLMScorer:
        """A scorer that asks the model for what neither `log` nor --known_log holds.

        Parameters
        ----------
        task : all of its questions may be asked
        log : read here, and extended by every answer that is asked for
        budget : limits on the calls
        spending : counts the answers that are needed and those that are asked for
        decoding : how answers are drawn
        grader : strict (default), math, original or opro

        Raises: InputError if `log` was drawn with another decoding, or if a log cannot be read or holds other
        questions under the task's ids, or if a package of the grader is missing.
        """
        grading.check(grader)
        name = self.scorer_name
        scorer = LLMScorer(
            self._llm, name, task, decoding, grader, log, budget, spending, second_round=self.second_round
        )
        return scorer.read_logs(self._known)

    @cached_property
    def _llm(self) -> Callable[[], LLM]:
        files = LogFiles(Paths(self.root).opro_log(self.scorer_name), self.task)
        return cache(lambda: self.scorer.load("scorer.", files))

    @cached_property
    def _known(self) -> list[LogRow]:
        return runs.read_logs("--known_log", self.known_log)


@dataclass(kw_only=True)
class SearchOptions(StepOptions):
    """What a search for instructions needs besides: loop, meta-prompt, predictions, and who proposes."""

    train_size: int | float = 50
    """Questions that score every instruction; with a decimal point a share, of the training questions where
    the data bring some."""
    proposer: Literal["llm", "paraphrase", "search"] = "llm"
    """llm: --optimizer writes the instructions; paraphrase: it says good ones in other words, which a small
    model can; search: a stated search over phrases, no second model."""
    optimizer_max_gen_len: int = 512
    """Tokens of an optimizer's answer."""
    optimizer_top_p: float = 1.0
    """Share of the probability that the optimizer samples from."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    meta: MetaPromptSettings = field(default_factory=MetaPromptSettings)
    reward: RewardSettings = field(default_factory=RewardSettings)
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    scorer_budget: BudgetOptions = field(default_factory=BudgetOptions)
    optimizer_budget: BudgetOptions = field(default_factory=BudgetOptions)

    def proposers(self, space: SearchSpace) -> Callable[[Path, int, Budget], Proposer]:
        """What makes the proposer of a run: its arguments are the file that keeps proposals, seed, budget.

        `space` is what the stated search can write. All proposers share one model.
        Raises: InputError on a top_p that is none, and where paraphrasing meets another layout than chat.
        """
        if not 0 < self.optimizer_top_p <= 1:
            raise InputError(f"--optimizer_top_p {self.optimizer_top_p}: give a number above 0 up to 1")
        search = PhraseSearch(self.meta.layout, space)
        name, optimizer = choose_optimizer(
            "search" if self.proposer == "search" else "llm", search, self.optimizer
        )
        make = optimizer
        if self.proposer == "paraphrase":
            if self.meta.layout != "chat":
                raise InputError("--proposer paraphrase reads the layout chat: leave --meta.layout out")
            name, make = f"{name}-paraphrase", lambda: Paraphraser(optimizer())
        limits = self.optimizer_max_gen_len, self.optimizer_top_p
        return lambda kept, seed, budget: Proposer(make, name, kept, seed, budget, *limits)
