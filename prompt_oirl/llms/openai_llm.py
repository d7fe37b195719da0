"""Any OpenAI-compatible chat server: OpenAI, vLLM, llama.cpp, Ollama, TigerBot and the like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Conversation, Decoding, Generation

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

        if base_url and not base_url.startswith(("http://", "https://")):
            raise InputError(f"base_url {base_url}: give a URL such as http://localhost:8000/v1")
        key = os.environ.get("OPENAI_API_KEY")
        if not key and not base_url and not os.environ.get("OPENAI_BASE_URL"):
            raise InputError(
                "--backend openai needs OPENAI_API_KEY in the environment, or --base_url of a server of "
                "your own"
            )
        self._client = OpenAI(
            api_key=key or LOCAL_KEY, base_url=base_url, max_retries=retries, timeout=timeout
        )
        self._model, self.batch_size = model, batch_size

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answer every conversation, `batch_size` requests at a time.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`

        Raises: InputError if the server refuses the key or knows no such model.
        """
        with ThreadPoolExecutor(self.batch_size) as pool:
            return list(pool.map(self._ask, conversations, repeat(decoding), seeds))

    def _ask(self, conversation: Conversation, decoding: Decoding, seed: int) -> Generation:
        from openai import (
            APIConnectionError,
            APIStatusError,
            AuthenticationError,
            NotFoundError,
            OpenAIError,
            PermissionDeniedError,
        )

        request: dict[str, Any] = {
            "model": self._model,
            "messages": conversation,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed % 2**31,
        }
        if decoding.max_new_tokens is not None:
            request["max_tokens"] = decoding.max_new_tokens
        try:
            answer = self._client.chat.completions.create(**request)
            choice = answer.choices[0]
            text, reason, usage = choice.message.content, choice.finish_reason, answer.usage
        except (AuthenticationError, NotFoundError, PermissionDeniedError) as error:  # a retry would not help
            raise InputError(
                f"{self._client.base_url} refused: HTTP {error.status_code}; check OPENAI_API_KEY, --model "
                "and --base_url"
            ) from None
        except APIStatusError as error:
            return _no_answer(f"HTTP {error.status_code}")
        except (APIConnectionError, OpenAIError) as error:
            return _no_answer(type(error).__name__)
        except (ValueError, TypeError, IndexError, AttributeError):
            return _no_answer("a reply that is no chat completion")
        if not isinstance(text, str):
            return _no_answer("a reply without text")
        # Servers that count no tokens are taken at four characters a token.
        asked = sum(len(turn["content"]) for turn in conversation)
        return Generation(
            text,
            reason if reason in ("length", "content_filter") else "stop",
            _count(getattr(usage, "prompt_tokens", None), asked),
            _count(getattr(usage, "completion_tokens", None), len(text)),
        )


def _count(tokens: object, characters: int) -> int:
    return tokens if isinstance(tokens, int) and tokens >= 0 else -(-characters // 4)


def _no_answer(reason: str) -> Generation:
    return Generation(reason, "error", 0, 0)
