"""Pairs of two responses to one prompt, which DPO and PRO learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prompt_oirl.alol.rows import LINE, LOGIT, Row
from prompt_oirl.io.files import InputError


@dataclass(frozen=True)
class Pair:
    """Row numbers of the preferred and the other response, and by how much their scores differ.

    gap : of the raw logits where rows carry them, of the rewards elsewhere; below 0 where the data prefer the
        response that scores less.
    """

    chosen: int
    rejected: int
    gap: float


PairOrder = Literal["logged", "reward"]


def make_pairs(rows: Sequence[Row], seed: int, order: PairOrder = "reward") -> list[Pair]:
    """Pairs of responses to one prompt.

    Parameters
    ----------
    rows : n rows
    seed : of the draws of `reward`
    order : `logged`, a chosen row over each rejected one of the same line, as published, whatever they
        scored; `reward`, one pair per row whose prompt has a response of less reward, which of them is drawn

    Raises: InputError if there are none.
    """
    return _logged_pairs(rows) if order == "logged" else _pairs_by_reward(rows, seed)


def _gap(chosen: Row, rejected: Row) -> float:
    scores = [row.meta.get(LOGIT, row.reward) for row in (chosen, rejected)]
    return scores[0] - scores[1]


def _logged_pairs(rows: Sequence[Row]) -> list[Pair]:
    of_line: dict[tuple[str, Any], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        of_line[row.prompt, row.meta.get(LINE)].append(place)
    pairs = [
        Pair(chosen, rejected, _gap(rows[chosen], rows[rejected]))
        for places in of_line.values()
        for chosen in places
        for rejected in places
        if rows[chosen].chosen and not rows[rejected].chosen
    ]
    if not pairs:
        raise InputError(
            "no line has a chosen and a rejected response, so there are no logged pairs: pass --pairs reward"
        )
    return pairs


def _pairs_by_reward(rows: Sequence[Row], seed: int) -> list[Pair]:
    of_prompt: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        of_prompt[row.prompt].append(place)
    rng = np.random.default_rng([seed, 3])
    pairs = []
    for places in of_prompt.values():
        for chosen in places:
            worse = [i for i in places if rows[i].reward < rows[chosen].reward]
            if worse:
                rejected = worse[int(rng.integers(len(worse)))]
                pairs.append(Pair(chosen, rejected, _gap(rows[chosen], rows[rejected])))
    if not pairs:
        raise InputError(
            "no prompt has two responses of different reward, so there are no preference pairs: log several "
            "samples per prompt, or choose an algorithm of step 4 that needs none"
        )
    return pairs
