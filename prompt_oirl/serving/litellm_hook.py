"""A hook for litellm's proxy that puts the prompt into each chat request which a selector chooses for it, and
logs what came of it (extra litellm).

A file beside litellm's config.yaml holds `hook = PromptHook("my_selector", log="served")`; the config names
it under `litellm_settings: callbacks`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prompt_oirl.io.extras import missing
from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.chooser import Chooser
from prompt_oirl.serving.requests import position_of, read_request, with_prompt
from prompt_oirl.serving.served_log import Answered, new_id
from prompt_oirl.serving.settings import Position

try:
    from litellm.integrations.custom_logger import CustomLogger
except ModuleNotFoundError as error:
    raise missing("the litellm hook needs litellm", "litellm") from error

KEY = "prompt_oirl"  # of a request's metadata, which litellm keeps through retries and fallbacks
CHAT = ("completion", "acompletion")  # litellm's names for /chat/completions
MAX_UNDER_WAY = 10_000  # requests whose end litellm never reported make room for new ones


@dataclass(frozen=True)
class _Asked:
    question: str
    choice: Choice
    position: str
    started: float


class PromptHook(CustomLogger):
    """Chooses a prompt for every chat request of a litellm proxy that has a question.

    Answers carry the headers x-prompt-oirl-id, -prompt, -probability, -propensity and -policy.

    Parameters
    ----------
    selector : folder of a saved selector; one that chooses the LLM too sets the request's model
    log, explore, seed : as in `Chooser`
    position : where prompts are put of which the selector's log does not say where they stood
    budget_ms : milliseconds for the choice; when they are over, the best prompt serves
    """

    def __init__(
        self,
        selector: str | Path,
        log: str | Path | None = None,
        explore: float = 0.0,
        position: Position = "system",
        budget_ms: float = 50.0,
        seed: int | None = None,
    ):
        super().__init__()
        self._chooser = Chooser(selector, log, explore, seed)
        self._position, self._budget = position, budget_ms / 1e3
        self._under_way: dict[str, _Asked] = {}

    def feedback(self, id: str, correct: float) -> None:
        """Log whether the answer with this x-prompt-oirl-id was right, 0 to 1."""
        self._chooser.feedback(id, correct)

    # --- what litellm calls -----------------------------------------------------------------------------

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Put the prompt into the request."""
        metadata = data["metadata"] = dict(data.get("metadata") or {})
        metadata.pop(KEY, None)  # a client's own is none of ours
        request = read_request(_as_json(data)) if call_type in CHAT else None
        if request is None:
            return data
        started = time.perf_counter()
        choice = await self._chooser.choose_within(request.question, self._budget)
        data.update(json.loads(with_prompt(request, choice, self._position)))
        id = new_id()
        metadata[KEY] = {
            "id": id,
            "prompt": quote(choice.name),
            "propensity": repr(choice.propensity),
            "policy": self._chooser.policy,
        }
        if choice.probability is not None:
            metadata[KEY]["probability"] = f"{choice.probability:.6g}"
        if len(self._under_way) >= MAX_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        position = position_of(choice, self._position)
        self._under_way[id] = _Asked(request.question, choice, position, started)
        return data

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        """Name the choice in the answer's headers."""
        chosen = (data.get("metadata") or {}).get(KEY) or {}
        return {f"x-prompt-oirl-{name}": value for name, value in chosen.items()} or None

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Log the answer; of a stream, when it has ended."""
        metadata = kwargs.get("litellm_params", {}).get("metadata") or {}
        choices = getattr(response_obj, "choices", None)
        usage = getattr(response_obj, "usage", None)
        reason = choices[0].finish_reason if choices else None
        self._ended(
            metadata,
            200,
            answer=choices[0].message.content if choices else None,
            finish_reason="disconnected" if metadata.get("client_disconnected") else reason,
            tokens_in=getattr(usage, "prompt_tokens", None),
            tokens_out=getattr(usage, "completion_tokens", None),
            llm=kwargs.get("model"),
            cost=kwargs.get("response_cost"),
        )

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Log the failure, once litellm has given up on the request (its other hook reports every try)."""
        status = getattr(original_exception, "status_code", None)
        metadata = request_data.get("metadata") or {}
        self._ended(metadata, int(status or 500), llm=request_data.get("model"))

    def _ended(
        self,
        metadata: dict[str, Any],
        status: int,
        llm: str | None,
        cost: float | None = None,
        **answered: Any,
    ) -> None:
        id = (metadata.get(KEY) or {}).get("id", "")
        asked = self._under_way.pop(id, None)
        if asked is not None:
            latency = (time.perf_counter() - asked.started) * 1e3
            self._chooser.record(
                id,
                asked.question,
                asked.choice,
                Answered(status=status, latency_ms=latency, **answered),
                position=asked.position,
                llm=llm,
                cost=cost or None,  # litellm gives 0 for a model whose price it lacks
            )


def _as_json(data: dict[str, Any]) -> bytes:
    try:
        return json.dumps({"messages": data.get("messages")}).encode()
    except (TypeError, ValueError):  # nothing that came as JSON
        return b""
