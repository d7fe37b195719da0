"""Any OpenAI-compatible chat server: OpenAI, vLLM, llama.cpp, Ollama, TigerBot and the like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prompt_oirl.artifacts import InputError
from prompt_oirl.llms import Conversation, Generation

LOCAL_KEY = "none"  # servers of one's own ask for no key, but the client wants one


class OpenAILLM:
    """Chat completions with bounded concurrency; the client retries with back-off and honours Retry-After.

    The key comes from OPENAI_API_KEY alone and is never part of a message. An answer that cannot be had after
    all retries comes back with finish_reason "error" and is not logged, so the next run asks again.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        batch_size: int = 8,
        retries: int = 6,
        timeout: float = 120.0,
    ):
        from openai import OpenAI

        key = os.environ.get("OPENAI_API_KEY")
        if not key and not base_url and not os.environ.get("OPENAI_BASE_URL"):
            raise InputError(
                "--backend openai needs OPENAI_API_KEY in the environment, or --base_url of a server of your own"
            )
        self._client = OpenAI(
            api_key=key or LOCAL_KEY, base_url=base_url, max_retries=retries, timeout=timeout
        )
        self._model, self.batch_size = model, batch_size
        self.last_error = ""

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int | None,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
    ) -> list[Generation]:
        def ask(conversation: Conversation, seed: int) -> Generation:
            return self._ask(conversation, seed, max_new_tokens, temperature, top_p)

        with ThreadPoolExecutor(self.batch_size) as pool:
            return list(pool.map(ask, conversations, seeds))

    def _ask(
        self,
        conversation: Conversation,
        seed: int,
        max_new_tokens: int | None,
        temperature: float,
        top_p: float,
    ) -> Generation:
        from openai import APIConnectionError, APIStatusError, AuthenticationError, NotFoundError, OpenAIError

        request: dict[str, Any] = {
            "model": self._model,
            "messages": conversation,
            "temperature": temperature,
            "top_p": top_p,
        }
        if max_new_tokens is not None:
            request["max_tokens"] = max_new_tokens
        try:
            answer = self._client.chat.completions.create(**request, seed=seed % 2**31)
            choice = answer.choices[0]
            text, reason, usage = choice.message.content, choice.finish_reason, answer.usage
        except (AuthenticationError, NotFoundError) as error:  # no retry will mend these
            raise InputError(
                f"{self._client.base_url} refused: HTTP {error.status_code}; check OPENAI_API_KEY, --model and --base_url"
            ) from None
        except (APIStatusError, APIConnectionError, OpenAIError) as error:
            return self._failed(type(error).__name__)
        except (ValueError, TypeError, IndexError, AttributeError):
            return self._failed("an answer that is not a chat completion")
        if text is None:
            return self._failed("an answer without text")
        tokens_in = usage.prompt_tokens if usage else 0
        return Generation(
            text,
            "length" if reason == "length" else "stop",
            tokens_in,
            usage.completion_tokens if usage else 0,
        )

    def _failed(self, reason: str) -> Generation:
        self.last_error = reason
        return Generation("", "error", 0, 0)
