"""Any causal language model in Hugging Face format, or Meta's original LLaMA folder, run in batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError
from prompt_oirl.llms import Conversation, Decoding, Generation
from prompt_oirl.llms.chat import ChatFormat, encode, set_chat_format


class TransformersLLM:
    """bf16 on a GPU, fp32 on CPU; left-padded batches, sorted by length, halved when memory runs out.

    What rows of a batch have in common at their start is read once (`shared_prefix`).

    `batch_size` is how many conversations run at once: on a GPU as many as fit by estimate, at most
    `max_batch_size`. `dtype`, "float32" or "bfloat16", asks for the other number format.
    """

    def __init__(
        self,
        model: str,
        tokenizer: str | None = None,
        max_seq_len: int = 512,
        max_batch_size: int = 64,
        dtype: str | None = None,
        *,
        chat_format: ChatFormat = "auto",
    ):
        import torch
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        weights = getattr(torch, dtype or ("float32" if self.device == "cpu" else "bfloat16"))
        if (Path(model) / "params.json").is_file():
            from prompt_oirl.llms.meta_checkpoint import load_meta_checkpoint

            self.model, self.tokenizer = load_meta_checkpoint(
                Path(model), Path(tokenizer) if tokenizer else None, weights
            )
        else:
            self.model, self.tokenizer = _load(model, tokenizer, weights)
        set_chat_format(self.tokenizer, chat_format)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        self.model.eval().to(self.device)
        if self.device == "cpu":
            # One new token at a time is no work for the fused kernel, which is slower there than plain
            # products.
            self.model.set_attn_implementation("eager")
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self.max_seq_len = min(max_seq_len, longest or max_seq_len)
        self.batch_size = max_batch_size
        if self.device != "cpu":
            free, _ = torch.cuda.mem_get_info(self.device)
            self.batch_size = max(1, min(max_batch_size, int(0.8 * free / self._bytes_per_row())))

    @classmethod
    def of(cls, model: Any, tokenizer: Any, max_seq_len: int, batch_size: int) -> TransformersLLM:
        """A model that is loaded already, as it is and where it is.

        Parameters
        ----------
        model : causal language model of the library transformers
        tokenizer : of this model; it must have a pad token
        max_seq_len : tokens of question and answer together
        batch_size : conversations that run at once, at most
        """
        llm = cls.__new__(cls)
        llm.model, llm.tokenizer, llm.device = model, tokenizer, str(model.device)
        llm.max_seq_len, llm.batch_size = max_seq_len, batch_size
        return llm

    def _bytes_per_row(self) -> int:
        """Bytes of one conversation of full length: keys and values of all layers, copies of the logits."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        cached = 2 * config.num_hidden_layers * heads * size * self.max_seq_len * self.model.dtype.itemsize
        return cached + 10 * 4 * config.vocab_size

    def encode(self, conversation: Conversation) -> list[int]:
        """Token ids; an assistant's last turn is left open for the model to go on."""
        return encode(self.tokenizer, conversation)

    def generate(
        self, conversations: Sequence[Conversation], *, decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Answer every conversation, longest first; results come back in the order asked.

        Parameters
        ----------
        conversations, decoding, seeds : as in `LLM.generate`

        Raises: InputError if one conversation alone does not fit into GPU memory.
        """
        return self.complete([self.encode(c) for c in conversations], decoding, seeds)

    def complete(
        self, encoded: Sequence[list[int]], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Generation]:
        """Continue given token ids, in the same way and with the same errors as `generate`.

        Parameters
        ----------
        encoded : token ids of each text; one of `max_seq_len` or more gets an empty answer, cut by length
        decoding, seeds : as in `LLM.generate`

        Returns: one answer per text, in their order.
        """
        answers: list[Generation] = [Generation("", "length", len(row), 0) for row in encoded]
        fitting = [i for i, row in enumerate(encoded) if len(row) < self.max_seq_len]
        order = sorted(fitting, key=lambda i: (-len(encoded[i]), i))
        at = 0
        while at < len(order):
            batch = order[at : at + self.batch_size]
            found = self._batch([encoded[i] for i in batch], decoding, [seeds[i] for i in batch])
            for i, answer in zip(batch, found):
                answers[i] = answer
            at += len(batch)
        return answers

    def _batch(self, rows: list[list[int]], decoding: Decoding, seeds: Sequence[int]) -> list[Generation]:
        import torch

        try:
            return self._run(rows, decoding, seeds)
        except torch.cuda.OutOfMemoryError:
            if len(rows) == 1:
                raise InputError(
                    "one conversation alone does not fit into GPU memory: lower --max_seq_len, or use a "
                    "smaller model"
                ) from None
        torch.cuda.empty_cache()
        half = (len(rows) + 1) // 2
        self.batch_size = half
        first = self._batch(rows[:half], decoding, seeds[:half])
        return first + self._batch(rows[half:], decoding, seeds[half:])

    def _run(self, rows: list[list[int]], decoding: Decoding, seeds: Sequence[int]) -> list[Generation]:
        """One padded batch. Like Meta's code, question and answer share `max_seq_len` tokens, row by row."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from prompt_oirl.llms.sampling import GumbelSampler
        from prompt_oirl.llms.shared_prefix import (
            cache_argument,
            can_share,
            fixed_cache,
            read_starts,
            shared_starts,
        )

        starts = shared_starts(rows) if can_share(self.model) else [0] * len(rows)
        ahead, rest = max(starts), max(len(row) - start for row, start in zip(rows, starts))
        width = ahead + rest
        room = [min(self.max_seq_len - len(row), decoding.max_new_tokens or self.max_seq_len) for row in rows]
        pad = self.tokenizer.pad_token_id
        # Both parts of a row are padded left; the library counts positions by the mask, so gaps do no harm.
        gaps = [(ahead - start, rest - len(row) + start) for row, start in zip(rows, starts)]
        ids = torch.tensor(
            [[pad] * a + row[:s] + [pad] * b + row[s:] for row, s, (a, b) in zip(rows, starts, gaps)],
            device=self.device,
        )
        mask = torch.tensor(
            [[0] * a + [1] * s + [0] * b + [1] * (rest - b) for s, (a, b) in zip(starts, gaps)],
            device=self.device,
        )
        ends = self.model.generation_config.eos_token_id or self.tokenizer.eos_token_id
        config = GenerationConfig(
            max_new_tokens=max(room),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=ends,
            disable_compile=True,
        )
        cache = fixed_cache(self.model, width + max(room))
        sampler: Any = GumbelSampler(seeds, width, decoding.temperature, decoding.top_p)
        with torch.inference_mode():
            if ahead:
                read_starts(self.model, ids[:, :ahead], mask[:, :ahead], cache)
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=LogitsProcessorList([sampler]),
                **cache_argument(self.model, cache),
            )
        return [
            self._finish(new, limit, len(row), ends)
            for new, limit, row in zip(out[:, width:].tolist(), room, rows)
        ]

    def _finish(self, new: list[int], limit: int, tokens_in: int, ends: int | list[int]) -> Generation:
        stops = set(ends if isinstance(ends, list) else [ends])
        stop = next((i for i, token in enumerate(new[:limit]) if token in stops), None)
        kept = new[:limit] if stop is None else new[:stop]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        reason = "length" if stop is None else "stop"
        return Generation(text, reason, tokens_in, len(kept) + (stop is not None))


def _load(model: str, tokenizer: str | None, dtype: Any) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hint = "pass a model folder, a hub id, or Meta's folder with params.json"
    looks_like_a_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_like_a_path and not Path(model).is_dir():
        raise InputError(f"there is no folder {model}: {hint}")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
        reader = AutoTokenizer.from_pretrained(tokenizer or model, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"the model {model!r} cannot be loaded ({reason}): {hint}") from error
    weights, report = loaded
    lost = [*report["missing_keys"], *report["mismatched_keys"]]
    if lost or not all(torch.isfinite(weight).all() for weight in weights.parameters()):
        reason = f"no weights for {lost[0]}" if lost else "weights that are not numbers"
        raise InputError(f"the model {model!r} is damaged ({reason}): download it again")
    return weights, reader
