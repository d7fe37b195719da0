"""Any OpenAI-compatible chat server: OpenAI, Azure, vLLM, llama.cpp, Ollama, OpenRouter and the like.

What replies mean is read in `server_replies`; here they are asked for and bounded, and the request is fitted
to what the server refuses.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from prompt_oirl.io import server_connection as connection
from prompt_oirl.llms import Conversation, Decoding, Generation, answers_in_replies, server_replies
from prompt_oirl.llms.budget import ANSWER_TOKENS

STAGGER = 0.005  # seconds between first requests; small servers queue five connections and drop the sixth
ALIKE = 4  # refusals in the same words, and no answer: then they concern everything

Changes = dict[
    str, dict[str, str | None]
]  # refused field -> {"sent_as": other field or None, "because": ...}


class OpenAILLM:
    """Chat completions with bounded concurrency: one request per conversation, no retries (`budget.ask` has
    them, so that they count).

    The key comes from OPENAI_API_KEY alone and is never part of a message. Fields that the server refuses are
    left out, or sent under the name that it asks for, from then on; `changes` holds them. Until one is
    answered, requests go one by one, so that one refusal teaches all.

    Parameters
    ----------
    model, base_url : name of the model at the server; its address, default OPENAI_BASE_URL, then OpenAI's
    batch_size : requests at a time
    timeout : seconds that one request may take, from connecting to the last byte
    request : more fields of the body; they are never left out
    changes : what an earlier run learned
    on_change : is handed all changes whenever one is learned
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        batch_size: int = 8,
        timeout: float = 120.0,
        request: Mapping[str, Any] | None = None,
        changes: Changes | None = None,
        on_change: Callable[[Changes], None] = lambda changes: None,
    ):
        self._key, self._runner = connection.environment_key(base_url), asyncio.Runner()
        self._client = connection.client(self._key, base_url, timeout)
        self.server = connection.shown(str(self._client.base_url))
        self._model, self.batch_size, self._timeout = model, batch_size, timeout
        self._request, self.changes, self._on_change = dict(request or {}), dict(changes or {}), on_change
        self._alone, self._answered, self._stopped, self._told = True, False, False, False
        self._alike: Counter[str] = Counter()

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Ask once for every answer; where nothing was sent `calls` is 0. Else as `answer_each`.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`
        """
        answers = [Generation("not asked", "error", 0, 0, calls=0, wait=0.0)] * len(conversations)
        self.answer_each(conversations, decoding=decoding, seeds=seeds, on_answer=answers.__setitem__)
        return answers

    def answer_each(
        self,
        conversations: Sequence[Conversation],
        *,
        decoding: Decoding,
        seeds: Sequence[int],
        on_answer: Callable[[int, Generation], None],
    ) -> None:
        """Ask once for every answer, `batch_size` requests at a time, and hand each over as it comes.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`
        on_answer : is handed the place of a conversation and its answer. What may be had by asking again says
            so by `wait`; fatal: the server refuses everything. What was not sent is left out
        """
        self._runner.run(self._ask_all(conversations, decoding, seeds, on_answer))

    async def _ask_all(
        self,
        conversations: Sequence[Conversation],
        decoding: Decoding,
        seeds: Sequence[int],
        on_answer: Callable[[int, Generation], None],
    ) -> None:
        slots = asyncio.Semaphore(self.batch_size)
        self._stopped = False

        async def ask(place: int) -> None:
            await asyncio.sleep(STAGGER * min(place, self.batch_size))
            async with slots:
                if not self._stopped:
                    on_answer(place, await self._ask(conversations[place], decoding, seeds[place]))

        first = 0
        if self._alone and len(seeds):
            await ask(first)
            first = 1
        if not self._alone:
            await asyncio.gather(*(ask(place) for place in range(first, len(seeds))))

    async def _ask(self, conversation: Conversation, decoding: Decoding, seed: int) -> Generation:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        sent = self._fields(decoding, seed)
        asked = sum(len(turn["content"]) for turn in conversation)
        # A reply that is lost may have been billed, so it is booked as the longest answer that it can be.
        lost = -(-asked // 4), decoding.max_new_tokens or ANSWER_TOKENS
        try:
            reply = await self._client.chat.completions.with_raw_response.create(
                model=self._model, messages=conversation, extra_body=sent
            )
            status, body, headers = 200, reply.content, reply.headers
        except APIStatusError as error:
            status, body, headers = error.status_code, error.response.content, error.response.headers
        except (APIConnectionError, connection.NoReply) as error:
            cause = error.__cause__ or error  # older clients wrap every exception
            if isinstance(cause, connection.TooSlow):
                self._alone = False
                text = f"{self.server}: no answer within --timeout {self._timeout:g} seconds"
                return Generation(text, "error", *lost, wait=0.5)
            if isinstance(cause, connection.NoReply):
                return Generation(f"{self.server}: {cause}", "error", *lost)
            reason = type(cause).__name__
            reached = not reason.startswith(("Connect", "Pool", "UnsupportedProtocol", "LocalProtocol"))
            self._alone = self._alone and not reached
            hint = "" if reached else "; check --base_url and that it is running"
            text = f"{self.server}: {reason}{hint}"
            return Generation(text, "error", *(lost if reached else (0, 0)), calls=int(reached), wait=0.5)
        except (OpenAIError, ValueError) as error:  # of the client itself
            return Generation(f"{self.server}: {type(error).__name__}", "error", 0, 0, calls=0)
        if 300 <= status < 400:
            where = connection.shown(headers.get("location", ""))
            said, hint = f"HTTP {status}: redirected to {where}", "redirects are not followed"
            if self._answered:  # the address is right: a gate before the server, which may open again
                return Generation(f"{self.server}: {said}; {hint}", "error", 0, 0, wait=0.5)
            return self._stop(said, f"{hint}: give the address itself as --base_url")
        data = connection.parse(body)
        used = answers_in_replies.usage(data)
        if status < 300:
            inside = answers_in_replies.error_inside(data)
            if not inside:
                self._tell_odd_counts(data)
                if answer := answers_in_replies.read_answer(data, conversation, self._key):
                    self._alone, self._answered = False, True
                    return answer
                said = server_replies.sentence(body, self._key)
                text = f"{self.server} answered HTTP 200 but no chat completion: {said}; check --base_url"
                if self._is_of_all(said):
                    return self._stop(f"HTTP 200: {said}", "check --base_url")
                torn = data is None and not body.lstrip().startswith(b"<")  # it may have been billed
                return Generation(text, "error", *(lost if torn else used))
            body = json.dumps(inside).encode()
        echoed = tuple(turn["content"] for turn in conversation if len(turn["content"]) > 2)
        wait = connection.seconds_to_wait(headers.get("retry-after"))
        refusal = server_replies.read_refusal(status, body, sent, echoed=echoed, wait=wait, key=self._key)
        return self._refused(status, refusal, wait, used, lost)

    def _fields(self, decoding: Decoding, seed: int) -> dict[str, Any]:
        """The body of a request beside model and messages, as far as the server takes it."""
        wanted: dict[str, Any] = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed % 2**31,
        }
        if decoding.max_new_tokens is not None:
            wanted["max_tokens"] = decoding.max_new_tokens
        sent = {}
        for name, value in wanted.items():
            field: str | None = name
            for _ in self.changes:  # max_completion_tokens may be refused in its turn
                field = self.changes[field]["sent_as"] if field in self.changes else field
            if field:
                sent[field] = value
        return sent | self._request

    def _refused(
        self,
        status: int,
        refusal: server_replies.Refusal,
        wait: float | None,
        used: tuple[int, int],
        lost: tuple[int, int],
    ) -> Generation:
        said = f"HTTP {status}: {refusal.sentence}"
        if refusal.kind == "parameter":
            if own := [name for name in refusal.parameters if name in self._request]:
                return self._stop(said, f"leave --request {own[0]} out")
            for name in refusal.parameters:
                self._change(name, refusal)
            return Generation(said, "error", 0, 0, wait=0.0)
        if refusal.kind == "account" or (refusal.kind in ("doubtful", "other") and self._is_of_all(said)):
            return self._stop(said, refusal.advice)
        if refusal.kind == "question":
            cut = refusal.finish_reason == "length"  # it was written, and billed, all the same
            return Generation("", refusal.finish_reason, *(lost if cut else used), refusal=said)
        text = f"{self.server}: {said}" + ("; check --base_url and --model" if status < 300 else "")
        if refusal.kind in ("later", "doubtful"):
            self._alone = self._alone and refusal.kind == "doubtful"
            pause = min(max(wait or 0.0, 0.5), server_replies.PATIENCE)
            return Generation(text, "error", *used, wait=pause)
        return Generation(text, "error", *used)

    def _is_of_all(self, said: str) -> bool:
        """Whether a refusal concerns everything: it came `ALIKE` times before any answer, numbers aside."""
        alike = re.sub(r"[\w-]*\d[\w-]*", "#", said)
        self._alike[alike] += 1
        return self._alike[alike] >= ALIKE and not self._answered

    def _stop(self, said: str, advice: str) -> Generation:
        self._stopped = True
        again = "then run the same command again (answers are kept)"
        return Generation(f"{self.server} refused: {said}; {advice}, {again}", "fatal", 0, 0)

    def _change(self, name: str, refusal: server_replies.Refusal) -> None:
        """Leave a field out of later requests, or send it under another name."""
        if name in self.changes:  # a request that was in flight has learned it
            return
        other = refusal.replacement or ("max_completion_tokens" if name == "max_tokens" else None)
        if "tokens" not in name or other == name or other in self.changes:
            other = None
        self.changes[name] = {"sent_as": other, "because": refusal.sentence}
        now = f"sent as {other}" if other else "no longer sent"
        tqdm.write(f"{self.server} refuses {name}, which is {now}: {refusal.sentence}", file=sys.stderr)
        self._on_change(self.changes)

    def _tell_odd_counts(self, data: Any) -> None:
        if not self._told and answers_in_replies.counts_oddly(data):
            self._told = True
            note = "reports token counts that cannot be; such answers are booked at four characters a token"
            tqdm.write(f"{self.server} {note}", file=sys.stderr)
