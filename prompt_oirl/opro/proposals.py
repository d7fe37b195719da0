"""The optimizer's side: asking it for instructions, and `proposals.jsonl`, from which a resumed run replays
them."""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from prompt_oirl.data.log_store import cut_torn_line
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import as_record, read_jsonl
from prompt_oirl.llms import LLM, Conversation, Decoding, Generation, item_seed
from prompt_oirl.llms.budget import Budget, ask
from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.opro.candidates import MAX_OUTPUT
from prompt_oirl.opro.scorers import ATTEMPTS, BudgetSpent

FAILED = ("error", "fatal")
HINT = "delete the run's folder, or give --run another name"


@dataclass(frozen=True)
class Proposal:
    """One sample of the optimizer. `meta_prompt` is the hash of the text it answered."""

    step: int
    sample: int
    proposer: str
    temperature: float
    meta_prompt: str
    output: str
    finish_reason: str
    tokens_in: int
    tokens_out: int
    top_p: float = 1.0


class Proposer:
    """Samples instructions; what stands in `path` already is not asked for again."""

    def __init__(
        self,
        llm: Callable[[], LLM],
        name: str,
        path: Path,
        seed: int,
        budget: Budget,
        max_new_tokens: int | None = 512,
        top_p: float = 1.0,
    ):
        self._llm = cache(llm)
        self.name, self._path, self._seed, self._budget = name, path, seed, budget
        self._max_new_tokens, self._top_p, self._reason = max_new_tokens, top_p, ""
        cut_torn_line(path)
        self.known: dict[tuple[int, int], Proposal] = {}
        if path.is_file():
            for i, row in enumerate(read_jsonl(path, hint=HINT), 1):
                proposal = as_record(Proposal, row, f"{path}:{i}", HINT)
                self.known[proposal.step, proposal.sample] = proposal

    def propose(self, meta_prompt: str, step: int, samples: int, temperature: float) -> list[Proposal]:
        """`samples` independent answers to one meta-prompt; appended to the file batch by batch.

        Parameters
        ----------
        meta_prompt : the text that the optimizer reads
        step : number of the step; the file names a proposal by its step and sample
        samples : how many answers; those that stand in the file are not asked for again
        temperature : of sampling; 0 is greedy

        Returns: one proposal per sample, in order; one that could not be had has the finish reason error.
        Raises: InputError if the file holds another meta-prompt, proposer or temperature for this step, or if
        not one sample could be had; BudgetSpent if the budget does not suffice.
        """
        digest = hashlib.sha256(meta_prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        for key, known in self.known.items():
            if key[0] != step:
                continue
            if known.meta_prompt != digest:
                raise InputError(f"{self._path}: step {step} answers another meta-prompt; {HINT}")
            if (known.proposer, known.temperature, known.top_p) != (self.name, temperature, self._top_p):
                raise InputError(
                    f"{self._path}: step {step} was proposed by {known.proposer} at temperature "
                    f"{known.temperature:g} and top_p {known.top_p:g}, not by {self.name} at {temperature:g} "
                    f"and {self._top_p:g}; {HINT}"
                )
        pending = [i for i in range(samples) if (step, i) not in self.known]
        for attempt in range(ATTEMPTS):
            pending = self._ask(meta_prompt, digest, step, pending, temperature, attempt)
        if len(pending) == samples:
            raise InputError(
                f"the optimizer {self.name} gave no answer at step {step}: {self._reason}; check its server "
                "and run the same command again"
            )
        # A sample that fails for good among others that don't is left out, else it would block the run.
        self._keep(
            [self._proposal(step, i, temperature, digest, Generation("", "error", 0, 0)) for i in pending]
        )
        return [self.known[step, i] for i in range(samples)]

    def _ask(
        self, meta_prompt: str, digest: str, step: int, pending: list[int], temperature: float, attempt: int
    ) -> list[int]:
        """Ask for some samples; returns those that failed."""
        failed: list[int] = []
        at = 0
        while at < len(pending):
            batch = pending[at : at + self._llm().batch_size]
            answers = ask(
                self._llm(),
                [[{"role": "user", "content": meta_prompt}] for _ in batch],
                self._budget,
                decoding=Decoding(temperature, self._top_p, self._max_new_tokens),
                seeds=[item_seed(self._seed, self.name, digest, step, i, attempt) for i in batch],
            )
            bad = {
                i: answer for i, answer in zip(batch, answers) if answer and answer.finish_reason in FAILED
            }
            got = [(i, answer) for i, answer in zip(batch, answers) if answer and i not in bad]
            self._keep([self._proposal(step, i, temperature, digest, answer) for i, answer in got])
            for answer in bad.values():
                self._reason = answer.text
                if answer.finish_reason == "fatal":
                    raise InputError(answer.text)
            if None in answers:
                raise BudgetSpent(f"the optimizer's {self._budget.why_stopped()}")
            failed += bad
            at += len(batch)
        return failed

    def _proposal(self, step: int, i: int, temperature: float, digest: str, answer: Generation) -> Proposal:
        output, used = answer.text[:MAX_OUTPUT], (answer.tokens_in, answer.tokens_out)
        how = self.name, temperature, digest
        return Proposal(step, i, *how, output, answer.finish_reason, *used, self._top_p)

    def _keep(self, proposals: list[Proposal]) -> None:
        if not proposals:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            for proposal in proposals:
                self.known[proposal.step, proposal.sample] = proposal
                file.write(json.dumps(asdict(proposal), ensure_ascii=True) + "\n")


class StatedSearch(ABC):
    """An `LLM` that is none: it sees nothing but the meta-prompt, the last turn, and is random by the seed
    alone."""

    name: str
    batch_size = 64

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answers as `LLM.generate`; temperature 0 gives the same for every seed.

        Parameters
        ----------
        conversations : the last turn of each is its meta-prompt, the other turns are not read
        decoding : only the temperature counts
        seeds : one per conversation

        Returns: one answer per conversation, with the finish reason stop and no tokens counted.
        """
        answers = []
        for conversation, seed in zip(conversations, seeds):
            text = conversation[-1]["content"]
            rng = random.Random(item_seed(self.name, text, seed if decoding.temperature > 0 else 0))
            answers.append(Generation(self.answer(text, decoding.temperature, rng), "stop", 0, 0))
        return answers

    @abstractmethod
    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        """A proposal in the form that the meta-prompt asks for.

        Parameters
        ----------
        meta_prompt : all that the search knows of earlier solutions
        temperature : of sampling, 0 or more; a search may leave it unused
        rng : source of everything random
        """


def choose_optimizer(
    kind: Literal["llm", "search"], search: StatedSearch, model: ModelOptions
) -> tuple[str, Callable[[], LLM]]:
    """Name of what proposes and how to load it: the stated search, or the model that --optimizer names.

    Parameters
    ----------
    kind : search for the stated search, llm for the model
    search : the stated search
    model : flags of the model; it is loaded when the returned function is first called, and only once
    """
    if kind == "search":
        return search.name, lambda: search
    return model.name(), cache(lambda: model.load("optimizer."))
