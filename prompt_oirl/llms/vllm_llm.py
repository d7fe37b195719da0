"""The vLLM engine, for large logs on a GPU box (`pip install vllm` in an environment of its own)."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Conversation, Decoding, Generation
from prompt_oirl.llms.chat import encode


class VllmLLM:
    """Continuous batching by the engine. Each request has its own seed, so texts follow vLLM's noise, not
    ours: give such a log an --llm name of its own."""

    batch_size = 1024  # the engine schedules within what it is handed

    def __init__(self, model: str, tokenizer: str | None = None, max_seq_len: int = 512):
        try:
            import vllm
        except ImportError as error:
            raise InputError(
                "--backend vllm needs vLLM: install it in an environment of its own (pip install vllm), or "
                "use --backend transformers"
            ) from error
        self._parameters = vllm.SamplingParams
        self._engine = vllm.LLM(model=model, tokenizer=tokenizer, max_model_len=max_seq_len)
        self._max_seq_len = max_seq_len

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answer every conversation. Question and answer share `max_seq_len` tokens.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`
        """
        rows = [encode(self._engine.get_tokenizer(), c) for c in conversations]
        room = [
            min(self._max_seq_len - len(row), decoding.max_new_tokens or self._max_seq_len) for row in rows
        ]
        asked = [i for i, left in enumerate(room) if left > 0]
        outputs = self._engine.generate(
            [{"prompt_token_ids": rows[i]} for i in asked],
            [
                self._parameters(
                    temperature=decoding.temperature,
                    top_p=decoding.top_p,
                    max_tokens=room[i],
                    seed=seeds[i] % 2**31,
                )
                for i in asked
            ],
            use_tqdm=False,
        )
        answers = [Generation("", "length", len(row), 0) for row in rows]
        for i, output in zip(asked, outputs):
            first = output.outputs[0]
            reason = "length" if first.finish_reason == "length" else "stop"
            answers[i] = Generation(first.text, reason, len(rows[i]), len(first.token_ids))
        return answers
