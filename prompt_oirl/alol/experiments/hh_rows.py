"""Rows of the hh experiment: real pairs of responses with logged rewards, as a chat model reads them.

Train is harmless_base and helpful_base, dev sampled_dev, test helpful_online. These files share dialogues, so
near-duplicates are clustered over all of them: a test dialogue that is like one of dev is left out, and so is
a training dialogue that is like one of either. A logged reward is that of a whole response, so pairs with a
response beyond the limit are left out too instead of being cut.

In half of the dev and test pairs the better response is the longer one: always taking the longer, or the
shorter, is right in half of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol.experiments.hh_settings import HHOptions, Sizes
from prompt_oirl.alol.rows import FINAL, LOGIT, Row, read_rows, write_rows
from prompt_oirl.alol.tasks.hh import TASK, rows_of
from prompt_oirl.data.near_duplicates import cluster_texts
from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.llms import Conversation
from prompt_oirl.llms.chat import render

FILES = {
    "train": ("hh_test/harmless_base.json", "hh_test/helpful_base.json"),
    "dev": ("hh_dev/sampled_dev.json",),
    "test": ("hh_test/helpful_online.json",),
}
ROLES = {"<|prompter|>": "user", "<|assistant|>": "assistant"}
SPLITS = ("train", "value", "dev", "test")


@dataclass(frozen=True)
class LoggedPair:
    """Two logged responses to one prompt; `better` has the higher logged reward, or is the first of equals.

    longer: whether the better one has more tokens (1), fewer (-1) or as many (0).
    """

    better: Row
    worse: Row
    longer: int = 0

    @property
    def margin(self) -> float:
        """By how much the better reward is higher."""
        return self.better.reward - self.worse.reward


def messages_of(turns: Sequence[str]) -> Conversation:
    """A dialogue as a conversation; its last turn, the bare mark of the assistant, is left out."""
    found = []
    for turn in turns[:-1]:
        mark = next((mark for mark in ROLES if turn.startswith(mark)), None)
        if mark is None:
            raise InputError(f"a turn begins with {turn[:20]!a}, not with a speaker; download the file again")
        found.append({"role": ROLES[mark], "content": turn.removeprefix(mark).strip()})
    return found


def read_dialogues(data: Path, tokenizer: Any) -> dict[str, list[LoggedPair]]:
    """All pairs of every split, their prompts by the chat template, clusters of near-duplicates as groups.

    Parameters
    ----------
    data : folder of LoL-RL's files, see `FILES`
    tokenizer : of the model that reads the prompts

    Raises: InputError if a file is missing or damaged.
    """
    found: dict[str, list[LoggedPair]] = {}
    for split, names in FILES.items():
        rows = []
        for name in names:
            rows += rows_of(data / name, split, Path(name).stem if split != "dev" else "", both=True)[0]
        pairs = [_pair(a, b, tokenizer) for a, b in zip(rows[::2], rows[1::2])]
        found[split] = [p for p in pairs if p.better.response.strip() and p.worse.response.strip()]
    dialogues = [" ".join(pair.better.meta["turns"]) for pairs in found.values() for pair in pairs]
    clusters = iter(cluster_texts(dialogues).tolist())
    return {
        split: [_grouped(pair, f"cluster{next(clusters)}") for pair in pairs]
        for split, pairs in found.items()
    }


def _pair(a: Row, b: Row, tokenizer: Any) -> LoggedPair:
    better, worse = (a, b) if a.reward >= b.reward else (b, a)
    prompt = render(tokenizer, messages_of(a.meta["turns"]))
    sides = [replace(row, prompt=prompt, response=row.response.strip()) for row in (better, worse)]
    n, m = (len(tokenizer(row.response, add_special_tokens=False)["input_ids"]) for row in sides)
    return LoggedPair(sides[0], sides[1], (n > m) - (n < m))


def _grouped(pair: LoggedPair, group: str) -> LoggedPair:
    return replace(pair, better=replace(pair.better, group=group), worse=replace(pair.worse, group=group))


def kept_apart(found: dict[str, list[LoggedPair]]) -> dict[str, list[LoggedPair]]:
    """Splits without near-duplicates of one another: of test goes what dev has, of train what either has."""
    clusters = {split: {pair.better.group for pair in pairs} for split, pairs in found.items()}
    held = {"train": clusters["dev"] | clusters["test"], "dev": set(), "test": clusters["dev"]}
    return {
        split: [pair for pair in pairs if pair.better.group not in held[split]]
        for split, pairs in found.items()
    }


def fitting(pairs: Sequence[LoggedPair], tokenizer: Any, response: int) -> list[LoggedPair]:
    """Pairs whose responses both have at most `response` tokens with their end of text, and whose rewards
    differ."""

    def long(row: Row) -> int:
        return len(tokenizer(row.response, add_special_tokens=False)["input_ids"]) + 1

    return [p for p in pairs if p.margin > 0 and max(long(p.better), long(p.worse)) <= response]


def balanced(pairs: Sequence[LoggedPair], n: int, seed: list[int]) -> list[LoggedPair]:
    """At most n pairs at random, one of a cluster; in half of them the better response is the longer one.

    Parameters
    ----------
    pairs : to draw from
    n : pairs to draw, an even number
    seed : numbers that seed the draw together

    Raises: InputError if there are too few of either kind.
    """
    rng = np.random.default_rng(seed)
    drawn: list[LoggedPair] = []
    for longer in (1, -1):
        kind = [pair for pair in pairs if pair.longer == longer]
        taken = {pair.better.group for pair in drawn}
        order = (kind[i] for i in rng.permutation(len(kind)))
        one_of_cluster = {p.better.group: p for p in order if p.better.group not in taken}
        if len(one_of_cluster) < n // 2:
            raise InputError(f"only {len(one_of_cluster)} pairs of a kind, {n // 2} are needed")
        drawn += list(one_of_cluster.values())[: n // 2]
    return drawn


def prepare_rows(options: HHOptions, tokenizer: Any) -> dict[str, Any]:
    """Write the rows of all splits, two by two with the better one first; returns the counts of what was
    left out.

    Parameters
    ----------
    options : the experiment
    tokenizer : of the model that reads the rows
    """
    sizes: Sizes = options.sizes
    read = read_dialogues(options.fetched / "LoL-RL" / "data", tokenizer)
    apart = kept_apart(read)
    whole = {split: fitting(pairs, tokenizer, sizes.response) for split, pairs in apart.items()}
    rng = np.random.default_rng([0, 11])
    order = rng.permutation(len(whole["train"]))[: sizes.train_pairs]
    chosen = {
        "train": [whole["train"][i] for i in order],
        "value": apart["dev"][: sizes.value_dialogues],
        "dev": balanced(whole["dev"], sizes.dev_pairs, [0, 12]),
        "test": balanced(whole["test"], sizes.test_pairs, [0, 13]),
    }
    for split, pairs in chosen.items():
        write_rows(options.rows_file(split), chain.from_iterable((p.better, p.worse) for p in pairs), "hh")
    counts: dict[str, dict[str, Any]] = {
        split: {"read": len(read[split]), "apart": len(apart[split]), "whole": len(whole[split])}
        for split in FILES
    }
    for split in FILES:
        prompts = [len(tokenizer(p.better.prompt)["input_ids"]) for p in chosen[split]]
        counts[split] |= {"used": len(chosen[split]), "prompts_cut": sum(n > sizes.prompt for n in prompts)}
        longer = [p.longer == 1 for p in whole[split] if p.longer]
        counts[split]["length_rule_before_balancing"] = float(np.mean(longer))
    write_json(options.folder / "rows" / "counts.json", counts)
    return counts


def read_split(options: HHOptions, split: str) -> list[Row]:
    """Rows of a split, two by two, the better one first."""
    return read_rows(options.rows_file(split), TASK.name, TASK.max_reward)


def with_flipped_rewards(rows: Sequence[Row], share: float) -> list[Row]:
    """Rows, two by two, with the rewards of `share` of the pairs exchanged; a larger share flips more pairs
    and the same ones."""
    pairs = len(rows) // 2
    flipped = set(np.random.default_rng([0, 14]).permutation(pairs)[: round(share * pairs)].tolist())
    found = list(rows)
    for i, row in enumerate(rows):
        if i // 2 in flipped:
            other = rows[i ^ 1]
            scores, meta = {FINAL: other.reward}, {LOGIT: other.meta[LOGIT]}
            found[i] = replace(row, components=row.components | scores, meta=row.meta | meta)
    return found
