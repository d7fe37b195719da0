"""One budget for every paid call: stops cleanly before it is overdrawn, and counts what is asked again."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from prompt_oirl.llms import LLM, Conversation, Decoding, Generation

RETRIES = 6  # of a request that may be answered when it is sent again
LONGEST_PAUSE = 8.0  # seconds between them, unless the server asks for more
ANSWER_TOKENS = 256  # what an answer without a limit is taken to have before one was seen


@dataclass
class Budget:
    """Limits on calls, dollars and minutes; None is no limit. Prices are dollars per million tokens.

    A call is a request that a server received, answered or not: retries count, and what a local model writes.
    """

    max_calls: int | None = None
    max_cost: float | None = None
    max_minutes: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    most_in: int = 0  # tokens of one answer
    most_out: int = 0
    _started: float = field(default_factory=time.monotonic)
    _told: bool = False

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Dollars."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def spend(self, generation: Generation) -> float:
        """Book one answer, or a request that brought none, and return what it cost in dollars."""
        self.calls += generation.calls
        self.tokens_in += generation.tokens_in
        self.tokens_out += generation.tokens_out
        if generation.finish_reason not in ("error", "fatal"):
            self.most_in = max(self.most_in, generation.tokens_in)
            self.most_out = max(self.most_out, generation.tokens_out)
        return self.cost(generation.tokens_in, generation.tokens_out)

    def calls_left(self, wanted: int, tokens_in: float, tokens_out: float) -> int:
        """How many of `wanted` calls of at most this size may still be made.

        Parameters
        ----------
        wanted : calls one would like to make
        tokens_in, tokens_out : of one call, read and written; larger ones seen so far count instead
        """
        left = wanted if self.max_calls is None else min(wanted, self.max_calls - self.calls)
        if self.max_cost is not None:
            per_call = self.cost(max(tokens_in, self.most_in), self.most_out or tokens_out)
            spent = self.cost(self.tokens_in, self.tokens_out)
            left = min(left, int((self.max_cost - spent) / per_call + 1e-9) if per_call > 0 else left)
        return max(left, 0) if self.seconds_left() > 0 else 0

    def seconds_left(self) -> float:
        """Until `max_minutes` are over."""
        if self.max_minutes is None:
            return float("inf")
        return 60 * self.max_minutes - (time.monotonic() - self._started)

    def overdraft(self, answers: int, tokens_in: float, max_new_tokens: int | None) -> str:
        """By how much `max_cost` may be exceeded, one sentence; empty without such a limit.

        Parameters
        ----------
        answers : in flight at a time
        tokens_in : of the longest question and prompt
        max_new_tokens : of an answer; None takes the longest so far, or `ANSWER_TOKENS`
        """
        if self.max_cost is None:
            return ""
        tokens_out = max_new_tokens or self.most_out or ANSWER_TOKENS
        dollars = answers * self.cost(max(tokens_in, self.most_in), tokens_out)
        known = "" if max_new_tokens else f" if none is longer than {tokens_out:,} tokens"
        return (
            f"--max_cost {self.max_cost:g} may be exceeded by at most the {answers} answers in flight, about "
            f"${dollars:.2g}{known}"
        )

    def why_stopped(self) -> str:
        """Which limit stands in the way, in words."""
        if self.seconds_left() <= 0:
            return f"--max_minutes {self.max_minutes:g}"
        if self.max_calls is not None and self.calls >= self.max_calls:
            return f"--max_calls {self.max_calls}"
        return f"--max_cost {self.max_cost:g}" if self.max_cost is not None else "no limit"


def ask(
    llm: LLM,
    conversations: Sequence[Conversation],
    budget: Budget,
    *,
    decoding: Decoding,
    seeds: Sequence[int],
) -> list[Generation | None]:
    """Ask as far as the budget allows, again where a server asks for patience, and book all of it.

    Parameters
    ----------
    conversations, decoding, seeds : as in `LLM.generate`
    budget : every request is booked here

    Returns: for each conversation an answer, or an error that came `RETRIES` times or is no use repeating;
    None where the budget ended before it was asked. After a fatal one nothing is asked any more.
    """
    sizes = [sum(len(turn["content"]) for turn in conversation) / 4 for conversation in conversations]
    tokens_out = decoding.max_new_tokens or ANSWER_TOKENS
    if not budget._told and sizes:
        budget._told = True
        flight = min(llm.batch_size, len(sizes))
        if said := budget.overdraft(flight, max(sizes), decoding.max_new_tokens):
            tqdm.write(said, file=sys.stderr)
    answers: list[Generation | None] = [None] * len(conversations)
    waiting, tries = list(range(len(conversations))), 0
    while waiting:
        waiting = waiting[: budget.calls_left(len(waiting), max(sizes[i] for i in waiting), tokens_out)]
        if not waiting:
            break
        got = llm.generate(
            [conversations[i] for i in waiting], decoding=decoding, seeds=[seeds[i] for i in waiting]
        )
        for i, answer in zip(waiting, got):
            budget.spend(answer)
            unsent = answer.finish_reason == "error" and answer.calls == 0 and answer.wait == 0
            answers[i] = answers[i] if unsent else answer
        if any(answer.finish_reason == "fatal" for answer in got):
            break
        again = [(i, answer.wait) for i, answer in zip(waiting, got) if answer.wait is not None]
        waiting, pause = [i for i, _ in again], max((wait for _, wait in again), default=0.0)
        if pause > 0:
            tries += 1
            pause = max(pause, min(0.5 * 2 ** (tries - 1), LONGEST_PAUSE) * random.uniform(0.75, 1))
            if tries > RETRIES or pause >= budget.seconds_left():
                break
            time.sleep(pause)
    return answers
