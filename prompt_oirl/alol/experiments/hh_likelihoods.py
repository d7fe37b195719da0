"""How likely a policy finds two responses to one prompt; the prompt is read once for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from prompt_oirl.alol.models.log_probabilities import Tokens, collate


@torch.no_grad()
def pair_log_probs(model: Any, tokens: Sequence[Tokens], pad_id: int, batch_size: int = 2) -> np.ndarray:
    """Log-probability of every response, summed over its tokens, float64 (n, 2), nats.

    Parameters
    ----------
    model : causal language model in eval mode, whose cache keeps every token
    tokens : 2 n rows, two by two with one prompt
    pad_id : token id that fills up a batch
    batch_size : pairs at once
    """
    pairs = list(zip(tokens[::2], tokens[1::2]))
    found = np.zeros((len(pairs), 2))
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0].prompt))
    for at in range(0, len(order), batch_size):
        places = order[at : at + batch_size]
        both = [row for i in places for row in pairs[i]]
        found[places] = _log_probs(model, both, pad_id).view(-1, 2).double().numpy()
    return found


def _log_probs(model: Any, rows: Sequence[Tokens], pad_id: int) -> torch.Tensor:
    """Of 2 B rows, two by two with one prompt, float32 (2 B,)."""
    prompts = collate([Tokens(row.prompt, []) for row in rows[::2]], pad_id)
    read = model(
        input_ids=prompts.ids,
        attention_mask=prompts.attention,
        position_ids=prompts.positions,
        use_cache=True,
        logits_to_keep=1,
    )
    cache = read.past_key_values
    cache.batch_repeat_interleave(2)
    # Behind the prompt, whose last logits say the first token, only the others are read.
    width = max(len(row.response) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row.response)] = torch.tensor(row.response)
        mask[i, : len(row.response)] = 1
    logits = read.logits.repeat_interleave(2, 0)
    if width > 1:
        before = prompts.attention.repeat_interleave(2, 0)
        rest = model(
            input_ids=ids[:, :-1],
            attention_mask=torch.cat([before, mask[:, :-1]], 1),
            position_ids=before.sum(1, keepdim=True) + torch.arange(width - 1),
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, rest.logits], 1)
    chosen = logits.float().gather(2, ids.unsqueeze(2)).squeeze(2)
    return ((chosen - logits.float().logsumexp(2)) * mask).sum(1)
