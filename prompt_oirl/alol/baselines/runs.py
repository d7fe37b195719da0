"""Pairs of two responses to one prompt, which DPO and PRO learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prompt_oirl.alol.rows import Row
from prompt_oirl.io.files import InputError


@dataclass(frozen=True)
class Pair:
    """Row numbers of the better and the worse response, and by how much their rewards differ (above 0)."""

    chosen: int
    rejected: int
    gap: float


def make_pairs(rows: Sequence[Row], seed: int) -> list[Pair]:
    """One pair per row whose prompt has a response of less reward; which of them is drawn from the seed.

    Rewards decide, also where the data mark a response as chosen: a published pair whose chosen response
    scores less is turned round instead of trained on with a negative gap.
    """
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
                pairs.append(Pair(chosen, rejected, rows[chosen].reward - rows[rejected].reward))
    if not pairs:
        raise InputError(
            "no prompt has two responses of different reward, so there are no preference pairs: log several "
            "samples per prompt, or choose an algorithm of step 4 that needs none"
        )
    return pairs
