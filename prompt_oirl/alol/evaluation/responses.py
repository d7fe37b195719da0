"""What a policy says: responses to a split's prompts, their rewards, length, diversity, and how likely it
finds the data."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from prompt_oirl.alol.evaluation.aggregation import group_means, interval
from prompt_oirl.alol.evaluation.beam_search import search_responses
from prompt_oirl.alol.models.log_probabilities import (
    Tokens,
    by_length,
    check_positions,
    collate,
    positions,
    token_log_probs,
)
from prompt_oirl.alol.rows import Limits, Row, encode_rows
from prompt_oirl.alol.tasks.task import GREEDY, Search, Task
from prompt_oirl.llms import item_seed
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.stats.metrics import ClusterBootstrap


def answer(
    task: Task,
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    limits: Limits,
    batch_size: int,
    seed: int,
    samples: int = 1,
    search: Search | None = None,
    title: str | None = None,
) -> list[list[str]]:
    """`samples` responses to every row's prompt, sampled like the task's logged ones or searched for.

    Parameters
    ----------
    task : its temperature and top_p are used
    model, tokenizer : causal language model and its tokenizer
    rows : n rows, whose prompts are answered
    limits : tokens of a prompt, whose beginning is cut off, and of a response
    batch_size : responses at once, at most
    seed : of the sampling noise, see `respond`
    samples : responses per prompt
    search : greedy or beam search instead of sampling, for one response per prompt
    title : of the progress bar; None shows none

    Returns: n lists of `samples` texts.
    Raises: InputError for a row whose prompt or own response has no token.
    """
    tokens = encode_rows(rows, tokenizer, replace(limits, long_responses="cut"))
    check_positions(model, tokens)
    decoding = task.decoding(seed, limits.max_response_length, greedy=search == GREEDY)
    llm = llm_of(model, tokenizer, limits, batch_size)
    with tqdm(total=len(rows) * samples, desc=title, disable=None if title else True) as bar:
        if search is not None and search != GREEDY:
            prompts, limit = [row.prompt for row in tokens], limits.max_response_length
            texts = search_responses(model, tokenizer, prompts, limit, search, batch_size, bar.update)
            return [[text] for text in texts]
        return respond(llm, rows, tokens, decoding, samples, bar.update)


def respond(
    llm: TransformersLLM,
    rows: Sequence[Row],
    tokens: Sequence[Tokens],
    decoding: Decoding,
    samples: int = 1,
    report: Callable[[int], Any] = lambda n: None,
) -> list[list[str]]:
    """`samples` responses to every row's prompt, n lists of texts.

    The noise belongs to (seed, prompt, sample), not to the batch.

    Parameters
    ----------
    llm : the model, which also says how many responses are made at once
    rows : n rows
    tokens : their token ids, of which the prompts are read
    decoding : how to sample, with the seed of the noise
    samples : responses per prompt
    report : called after each batch with the number of its responses; default: does nothing
    """
    pending = [(i, k) for i in range(len(rows)) for k in range(samples)]
    pending.sort(key=lambda place: -len(tokens[place[0]].prompt))
    found = [[""] * samples for _ in rows]
    for at in range(0, len(pending), llm.batch_size):
        batch = pending[at : at + llm.batch_size]
        answers = llm.complete(
            [tokens[i].prompt for i, _ in batch],
            decoding,
            [item_seed(decoding.seed, rows[i].prompt, k) for i, k in batch],
        )
        for (i, k), answer in zip(batch, answers):
            found[i][k] = answer.text
        report(len(batch))
    return found


def llm_of(model: Any, tokenizer: Any, limits: Limits, batch_size: int) -> TransformersLLM:
    """The model as it is, ready to respond within the limits.

    Parameters
    ----------
    model, tokenizer : loaded causal language model and its tokenizer, which must have a pad token
    limits : prompt and response together may have the sum of both limits, in tokens, or what the model can
        read where that is less
    batch_size : responses at once, at most
    """
    longest = limits.max_prompt_length + limits.max_response_length
    return TransformersLLM.of(model, tokenizer, min(longest, positions(model) or longest), batch_size)


def reward_responses(
    task: Task, rows: Sequence[Row], responses: Sequence[Sequence[str]]
) -> list[list[dict[str, float]]]:
    """Components of every response, nested like `responses`.

    Parameters
    ----------
    task : its reward judges the responses
    rows : n rows, whose prompts were answered
    responses : n lists of texts, all of the same length
    """
    samples = len(responses[0])
    flat = task.reward(
        [row for row in rows for _ in range(samples)], [t for found in responses for t in found]
    )
    return [flat[i * samples : (i + 1) * samples] for i in range(len(rows))]


@torch.no_grad()
def row_nll(
    model: Any, tokens: Sequence[Tokens], pad_id: int, device: str, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-likelihood of every row's response in nats (n,), and its number of tokens (n,).

    Parameters
    ----------
    model : causal language model
    tokens : n rows as token ids
    pad_id : token id that fills up a batch
    device : where the model is
    batch_size : rows at once
    """
    nll = np.zeros(len(tokens))
    for places in by_length(tokens, batch_size):
        batch = collate([tokens[i] for i in places], pad_id, device)
        nll[places] = -token_log_probs(model, batch).sum(1).cpu().numpy()
    return nll, np.array([len(row.response) for row in tokens])


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of lower-case words over all responses, per n-gram (distinct-n)."""
    grams = [
        tuple(words[i : i + n])
        for words in (text.lower().split() for text in texts)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else float("nan")


def metric_rows(
    rows: Sequence[Row],
    responses: Sequence[Sequence[str]],
    components: Sequence[Sequence[dict[str, float]]],
    nll: np.ndarray,
    lengths: np.ndarray,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of metrics.csv, over all prompts and per segment, with 95 % intervals by bootstrap over groups.

    Groups count alike in the means of rewards and lengths; perplexity is exp(sum of nll / sum of lengths).
    distinct-n has no interval: a resample repeats whole responses.

    Parameters
    ----------
    rows : n rows, one per prompt
    responses : of each row, what the policy says, as the reward reads it
    components : of each response, its rewards; nested like `responses`
    nll : float (n,), negative log-likelihood of the rows' own responses under the policy, nats
    lengths : int (n,), their tokens
    seed : of the bootstrap of perplexity; that of the means always has the same seed
    """
    found: list[dict[str, Any]] = []
    for segment in ("all", *sorted({row.segment for row in rows} - {""})):
        here = [i for i, row in enumerate(rows) if segment in ("all", row.segment)]
        boot = ClusterBootstrap(np.array([rows[i].cluster for i in here]), seed)
        scores = {name: [[c[name] for c in components[i]] for i in here] for name in components[here[0]][0]}
        scores["length_words"] = [[len(text.split()) for text in responses[i]] for i in here]
        intervals: dict[str, tuple[float | None, ...]] = {}
        for name, of_prompts in scores.items():
            groups: dict[str, list[float]] = defaultdict(list)
            for i, of_prompt in zip(here, of_prompts):
                groups[rows[i].cluster] += of_prompt
            intervals[name] = interval([""], [group_means(groups)])[:3]
        ratio = boot.ratio(nll[here][:, None], lengths[here][:, None].astype(float))[0]
        intervals["perplexity_of_data"] = tuple(math.exp(x) for x in ratio)
        said = [text for i in here for text in responses[i]]
        intervals |= {f"distinct_{n}": (distinct(said, n), None, None) for n in (1, 2, 3)}
        counts = {"n": len(here), "groups": boot.n_clusters}
        for name, (value, low, high) in intervals.items():
            row = {"segment": segment, "metric": name, "value": value, "ci_low": low, "ci_high": high}
            found.append(row | counts)
    return found
