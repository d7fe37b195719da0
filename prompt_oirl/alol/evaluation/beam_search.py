"""Beam search with a repetition penalty, by which the published scripts answer in all tasks but hh."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from prompt_oirl.alol.tasks.task import Search


@torch.no_grad()
def search_responses(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    limit: int,
    search: Search,
    batch_size: int,
    report: Callable[[int], Any] = lambda n: None,
) -> list[str]:
    """The best response found to each prompt.

    Prompts of one length are answered together, so that no padding counts as repeated and no response depends
    on its neighbours; the published batches are padded.

    Parameters
    ----------
    model, tokenizer : causal language model and its tokenizer, which has a pad token
    prompts : token ids of each
    limit : new tokens of a response at most
    search : beams, penalty and the token that ends a response besides the end of text
    batch_size : beams at once, at most
    report : called after each batch with the number of its prompts; default: does nothing
    """
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id
    ends = list(ends) if isinstance(ends, list) else [tokenizer.eos_token_id if ends is None else ends]
    if search.stop is not None and (stop := tokenizer.convert_tokens_to_ids(search.stop)) is not None:
        ends.append(stop)
    config = GenerationConfig(
        max_new_tokens=limit,
        num_beams=search.num_beams,
        repetition_penalty=search.repetition_penalty,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        disable_compile=True,
    )
    of_length: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        of_length[len(prompt)].append(place)
    found, size = [""] * len(prompts), max(1, batch_size // search.num_beams)
    for length, places in sorted(of_length.items(), reverse=True):
        for at in range(0, len(places), size):
            here = places[at : at + size]
            ids = torch.tensor([prompts[i] for i in here], device=model.device)
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            for i, text in zip(here, tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)):
                found[i] = text
            report(len(here))
    return found
