"""One budget for every paid call: stops cleanly before it is overdrawn, and counts what is asked again."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from prompt_oirl.llms import LLM, Conversation, Decoding, Generation, ServerLLM

RETRIES = 6  # of a request that may be answered when it is sent again
UNREACHED_RETRIES = 3  # where no server received it
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
    _told_longer: bool = False

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Dollars."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def spend(self, generation: Generation) -> float:
        """Book one answer, or a request that brought none, and return what it cost in dollars."""
        self.calls += generation.calls
        self.tokens_in += generation.tokens_in
        self.tokens_out += generation.tokens_out
        if generation.finish_reason not in ("error", "fatal"):
            self.expect(generation.tokens_in, generation.tokens_out)
        return self.cost(generation.tokens_in, generation.tokens_out)

    def expect(self, tokens_in: int, tokens_out: int) -> None:
        """Take an answer to be possible that was seen, here or in the log."""
        self.most_in, self.most_out = max(self.most_in, tokens_in), max(self.most_out, tokens_out)

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
        max_new_tokens : of an answer; the longest so far counts if it is longer, or `ANSWER_TOKENS` for None
        """
        if self.max_cost is None:
            return ""
        tokens_out = max(max_new_tokens or 0, self.most_out) or ANSWER_TOKENS
        dollars = answers * self.cost(max(tokens_in, self.most_in), tokens_out)
        known = "the server keeps to the limit of" if tokens_out == max_new_tokens else "none is longer than"
        return (
            f"--max_cost {self.max_cost:g} may be exceeded by at most the {answers} answers in flight, about "
            f"${dollars:.2g} if {known} {tokens_out:,} tokens"
        )

    def tell_longer(self, generation: Generation, max_new_tokens: int | None) -> None:
        """Say once that a server does not keep to the limit of tokens."""
        if max_new_tokens and generation.tokens_out > max_new_tokens and not self._told_longer:
            self._told_longer = True
            longer = (
                f"an answer counts {generation.tokens_out:,} tokens, more than the {max_new_tokens:,} asked"
            )
            note = "the server may not keep to the limit, so the longest answer foretells costs from now on"
            tqdm.write(f"{longer}: {note}", file=sys.stderr)

    def why_stopped(self) -> str:
        """Which limit stands in the way, in words."""
        if self.seconds_left() <= 0:
            return f"--max_minutes {self.max_minutes:g}"
        if self.max_calls is not None and self.calls >= self.max_calls:
            return f"--max_calls {self.max_calls}"
        return f"--max_cost {self.max_cost:g}" if self.max_cost is not None else "no limit"


Answers = list[tuple[int, Generation]]  # with the places of their conversations


def ask(
    llm: LLM,
    conversations: Sequence[Conversation],
    budget: Budget,
    *,
    decoding: Decoding,
    seeds: Sequence[int],
    on_answers: Callable[[Answers], None] = lambda answers: None,
) -> list[Generation | None]:
    """Ask as far as the budget allows, again where a server asks for patience, and book all of it.

    Where dollars are limited and no answer was seen yet, the first request goes alone.

    Parameters
    ----------
    conversations, decoding, seeds : as in `LLM.generate`
    budget : every request is booked here
    on_answers : is handed what came and is not asked again: a server's answers each as it comes, a local
        model's together

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

    def book(came: Answers) -> None:
        for i, answer in came:
            budget.spend(answer)
            budget.tell_longer(answer, decoding.max_new_tokens)
            answers[i] = answer
        on_answers([(i, answer) for i, answer in came if answer.wait is None])

    waiting, tries = list(range(len(conversations))), 0
    while waiting:
        waiting = waiting[: budget.calls_left(len(waiting), max(sizes[i] for i in waiting), tokens_out)]
        now = waiting[:1] if budget.max_cost is not None and not budget.most_out else waiting
        if not now:
            break
        sent = _send(llm, now, conversations, decoding, seeds, book)
        if any(answer.finish_reason == "fatal" for answer in sent.values()):
            break
        pause = max((answer.wait or 0.0 for answer in sent.values()), default=0.0)
        waiting = [i for i in waiting if i not in sent or sent[i].wait is not None]
        if pause > 0:
            tries += 1
            pause = max(pause, min(0.5 * 2 ** (tries - 1), LONGEST_PAUSE) * random.uniform(0.75, 1))
            reached = any(answer.calls for answer in sent.values())
            if tries > (RETRIES if reached else UNREACHED_RETRIES) or pause >= budget.seconds_left():
                break
            time.sleep(pause)
    return answers


def _send(
    llm: LLM,
    places: Sequence[int],
    conversations: Sequence[Conversation],
    decoding: Decoding,
    seeds: Sequence[int],
    book: Callable[[Answers], None],
) -> dict[int, Generation]:
    """Ask once for the answers at some places; returns what came, which is booked as it comes."""
    sent: dict[int, Generation] = {}

    def came(k: int, answer: Generation) -> None:
        sent[places[k]] = answer
        book([(places[k], answer)])

    chosen, of_them = [conversations[i] for i in places], [seeds[i] for i in places]
    if isinstance(llm, ServerLLM):
        llm.answer_each(chosen, decoding=decoding, seeds=of_them, on_answer=came)
    else:
        sent |= zip(places, llm.generate(chosen, decoding=decoding, seeds=of_them))
        book(list(sent.items()))
    return sent
