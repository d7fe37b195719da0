"""What is measured of a policy on logged pairs: every number from the log-probabilities of both responses.

With l_i the log-probability of response i under the policy, l0_i under the reference and R_i its logged
reward (1: better, 2: worse), n_i its tokens, g_i = l_i - l0_i:

| metric | what it is |
|---|---|
| nats_chosen, nats_better | -l_i / n_i of the response that people chose, of the better rewarded one |
| nats_by_reward | sum_i R_i (-l_i / n_i) / sum_i R_i |
| accuracy, accuracy_per_token | l_1 > l_2; l_1 / n_1 > l_2 / n_2 |
| gain_accuracy, gain_accuracy_per_token | the same of g_i: what training changed; equal g count one half |
| reweighted_reward | sum_i w_i R_i with w_i = e^{g_i} / (e^{g_1} + e^{g_2}) |

The last is the self-normalised importance-weighted reward of the policy within the pair, where the reference
weighs both by 1/2. It is a reward, bounded, moves before any ranking turns round, and prefers no loss: the
learning rates are chosen by it on dev. Pairs are split by margin and by whether the better one is longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prompt_oirl.alol.models.log_probabilities import Tokens
from prompt_oirl.alol.rows import Row

MARGINS = ("small margin", "middle margin", "large margin")
PER_TOKEN = ("nats_chosen", "nats_better", "nats_by_reward")


def pair_metrics(
    log_probs: np.ndarray, reference: np.ndarray, rows: Sequence[Row], lengths: np.ndarray
) -> dict[str, np.ndarray]:
    """Every metric of every pair, float64 (n,).

    Parameters
    ----------
    log_probs, reference : float (n, 2), of the better and the worse response, nats
    rows : 2 n rows, two by two with the better one first
    lengths : int (n, 2), their tokens
    """
    rewards = np.array([row.reward for row in rows]).reshape(-1, 2)
    chosen = np.array([row.chosen for row in rows]).reshape(-1, 2)
    nats, gain = -log_probs / lengths, log_probs - reference
    return {
        "nats_chosen": nats[chosen],
        "nats_better": nats[:, 0],
        "nats_by_reward": (rewards * nats).sum(1) / rewards.sum(1),
        "accuracy": _higher(log_probs),
        "accuracy_per_token": _higher(-nats),
        "gain_accuracy": _higher(gain),
        "gain_accuracy_per_token": _higher(gain / lengths),
        "reweighted_reward": reweighted_reward(gain, rewards),
    }


def reweighted_reward(gain: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Logged reward of a pair under the policy's weights of its responses, float64 (n,), see the module.

    Parameters
    ----------
    gain : float (n, 2), log ratio of policy to reference, nats
    rewards : float (n, 2)
    """
    weight = 0.5 * (1 + np.tanh((gain[:, 0] - gain[:, 1]) / 2))  # the sigmoid, without overflow
    return weight * rewards[:, 0] + (1 - weight) * rewards[:, 1]


def _higher(values: np.ndarray) -> np.ndarray:
    """1 where the first is higher, 1/2 where both are equal, 0 else."""
    return (np.sign(values[:, 0] - values[:, 1]) + 1) / 2


def lengths_of(tokens: Sequence[Tokens]) -> np.ndarray:
    """Tokens of the responses, int64 (n, 2)."""
    return np.array([len(row.response) for row in tokens]).reshape(-1, 2)


def segments_of(rows: Sequence[Row], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Which pairs belong to which part of a table, bool (n,) each: all, by length, by terciles of the margin.

    Parameters
    ----------
    rows : 2 n rows, two by two with the better one first
    lengths : int (n, 2), their tokens
    """
    rewards = np.array([row.reward for row in rows]).reshape(-1, 2)
    margin = rewards[:, 0] - rewards[:, 1]
    third = np.searchsorted(np.quantile(margin, [1 / 3, 2 / 3]), margin)
    return {
        "all": np.ones(len(margin), dtype=bool),
        "better is longer": lengths[:, 0] > lengths[:, 1],
        "better is shorter": lengths[:, 0] < lengths[:, 1],
        **{name: third == i for i, name in enumerate(MARGINS)},
    }
