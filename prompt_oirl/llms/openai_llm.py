"""Any OpenAI-compatible chat server: OpenAI, Azure, vLLM, llama.cpp, Ollama, OpenRouter and the like.

What replies mean is read in `server_replies`; here they are asked for and bounded, and the request is fitted
to what the server refuses.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tqdm import tqdm

from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Conversation, Decoding, Generation, answers_in_replies, server_replies
from prompt_oirl.llms.budget import ANSWER_TOKENS

LOCAL_KEY = "none"  # servers of one's own ask for no key, but the client wants one
MAX_REPLY = 16 * 2**20  # bytes; a chat answer is some kilobytes
STAGGER = 0.005  # seconds between first requests; small servers queue five connections and drop the sixth

Changes = dict[
    str, dict[str, str | None]
]  # refused field -> {"sent_as": other field or None, "because": ...}


class OpenAILLM:
    """Chat completions with bounded concurrency: one request per conversation, no retries (`budget.ask` has
    them, so that they count).

    The key comes from OPENAI_API_KEY alone and is never part of a message. Fields that the server refuses are
    left out, or sent under the name that it asks for, from then on; `changes` holds them. The first request
    goes alone until it is answered, so that one refusal teaches all.

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
        address = base_url or os.environ.get("OPENAI_BASE_URL")
        if address and not _is_address(address):
            raise InputError(f"base_url {address!a}: give a URL such as http://localhost:8000/v1")
        key = os.environ.get("OPENAI_API_KEY")
        if not key and not address:
            raise InputError(
                "--backend openai needs OPENAI_API_KEY in the environment, or --base_url of a server of "
                "your own"
            )
        self._key, self._runner = key or "", asyncio.Runner()
        self._client = _client(key or LOCAL_KEY, base_url, timeout)
        self._model, self.batch_size, self._timeout = model, batch_size, timeout
        self._request, self.changes, self._on_change = dict(request or {}), dict(changes or {}), on_change
        self._fitted, self._stopped, self._told = False, False, False

    @property
    def server(self) -> str:
        """The address, without a password that it may hold."""
        url = urlsplit(str(self._client.base_url))
        return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])).rstrip("/")

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Ask once for every answer, `batch_size` requests at a time.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`

        Returns: one generation each. What may be had by asking again says so by `wait`; `calls` is 0 where
        nothing was sent, and fatal where the server refuses everything.
        """
        return self._runner.run(self._ask_all(conversations, decoding, seeds))

    async def _ask_all(
        self, conversations: Sequence[Conversation], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        slots = asyncio.Semaphore(self.batch_size)
        self._stopped = False

        async def ask(conversation: Conversation, seed: int, place: int = 0) -> Generation:
            await asyncio.sleep(STAGGER * min(place, self.batch_size))
            async with slots:
                if self._stopped:
                    return _unsent()
                return await self._ask(conversation, decoding, seed)

        wanted = list(zip(conversations, seeds, range(len(seeds))))
        if not wanted or self._fitted:
            return list(await asyncio.gather(*(ask(*one) for one in wanted)))
        first = await ask(*wanted[0])
        if not self._fitted:
            return [first, *(_unsent() for _ in wanted[1:])]
        return [first, *await asyncio.gather(*(ask(*one) for one in wanted[1:]))]

    async def _ask(self, conversation: Conversation, decoding: Decoding, seed: int) -> Generation:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        sent = self._fields(decoding, seed)
        asked = sum(len(turn["content"]) for turn in conversation)
        # A reply that is lost may have been billed, so it is booked as the longest answer that it can be.
        lost = -(-asked // 4), decoding.max_new_tokens or ANSWER_TOKENS
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._client.chat.completions.with_raw_response.create(
                    model=self._model, messages=conversation, extra_body=sent
                )
                status, body, headers = 200, reply.content, reply.headers
        except APIStatusError as error:
            status, body, headers = error.status_code, error.response.content, error.response.headers
        except (APIConnectionError, _TooLong) as error:
            self._fitted = True
            cause = error.__cause__ or error  # older clients wrap every exception
            if isinstance(cause, _TooLong):
                return Generation(f"{self.server}: {cause}", "error", *lost)
            reason = type(cause).__name__
            reached = not reason.startswith(("Connect", "Pool", "UnsupportedProtocol"))
            hint = "" if reached else "; check --base_url and that it is running"
            text = f"{self.server}: {reason}{hint}"
            return Generation(text, "error", *(lost if reached else (0, 0)), calls=int(reached), wait=0.5)
        except TimeoutError:
            self._fitted = True
            text = f"{self.server}: no answer within --timeout {self._timeout:g} seconds"
            return Generation(text, "error", *lost, wait=0.5)
        except (OpenAIError, ValueError) as error:  # of the client itself
            return Generation(f"{self.server}: {type(error).__name__}", "error", 0, 0, calls=0)
        data = server_replies.parse(body)
        used = answers_in_replies.usage(data)
        if status < 300:
            inside = answers_in_replies.error_inside(data)
            if not inside:
                self._fitted = True
                self._tell_odd_counts(data)
                if answer := answers_in_replies.read_answer(data, conversation):
                    return answer
                said = server_replies.sentence(body, self._key)
                text = f"{self.server} answered HTTP 200 but no chat completion: {said}; check --base_url"
                torn = data is None and not body.lstrip().startswith(b"<")  # it may have been billed
                return Generation(text, "error", *(lost if torn else used))
            body = json.dumps(inside).encode()
        echoed = tuple(turn["content"] for turn in conversation if len(turn["content"]) > 2)
        wait = seconds_to_wait(headers.get("retry-after"))
        refusal = server_replies.read_refusal(status, body, sent, echoed=echoed, wait=wait, key=self._key)
        return self._refused(status, refusal, wait, used)

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
        self, status: int, refusal: server_replies.Refusal, wait: float | None, used: tuple[int, int]
    ) -> Generation:
        said = f"HTTP {status}: {refusal.sentence}"
        if refusal.kind == "parameter":
            if own := [name for name in refusal.parameters if name in self._request]:
                return self._stop(f"{self.server} refuses --request {own[0]}: {said}; leave it out")
            for name in refusal.parameters:
                self._change(name, refusal)
            return Generation(said, "error", 0, 0, wait=0.0)
        if refusal.kind == "account":
            hint = "check OPENAI_API_KEY, --model and --base_url, or add credit"
            if "tokens" in refusal.sentence and status in (400, 422):
                hint = "check --max_gen_len and --model"
            elif "temperature" in refusal.sentence.lower() and status in (400, 422):
                hint = "give another --temperature"
            return self._stop(
                f"{self.server} refused: {said}; {hint}, then run the same command again (answers are kept)"
            )
        self._fitted = True
        if refusal.kind == "question":
            return Generation("", refusal.finish_reason, *used, refusal=said)
        text = f"{self.server}: {said}" + ("; check --base_url and --model" if status < 300 else "")
        if refusal.kind == "later":
            pause = min(max(wait or 0.0, 0.5), server_replies.PATIENCE)
            return Generation(text, "error", *used, wait=pause)
        return Generation(text, "error", *used)

    def _stop(self, text: str) -> Generation:
        self._stopped = True
        return Generation(text, "fatal", 0, 0)

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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _unsent() -> Generation:
    return Generation("not asked", "error", 0, 0, calls=0, wait=0.0)


def seconds_to_wait(header: str | None) -> float | None:
    """A Retry-After header in seconds; it may be a number or a date."""
    if not header:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    with suppress(ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(header).timestamp() - time(), 0.0)
    return None


class _TooLong(Exception):
    pass


def _client(key: str, base_url: str | None, timeout: float) -> Any:
    """The client of the openai package, over a connection that reads at most `MAX_REPLY` bytes a reply."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    class Bounded(DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            response = await super().send(request, **{**options, "stream": True})
            body = bytearray()
            try:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_REPLY:
                        raise _TooLong(f"a reply of more than {MAX_REPLY // 2**20} MB")
            finally:
                await response.aclose()
            coded = ("content-encoding", "content-length", "transfer-encoding")  # it is decoded already
            headers = [(name, value) for name, value in response.headers.multi_items() if name not in coded]
            return type(response)(response.status_code, headers=headers, content=bytes(body), request=request)

    # Connecting ends first, so that a server that is not there is told from one that does not answer.
    limits = Timeout(timeout, connect=min(timeout / 2, 30))
    return AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=limits,
        default_headers={"Accept-Encoding": "identity"},  # so that a small reply cannot unpack to a large one
        http_client=Bounded(timeout=limits),
    )
