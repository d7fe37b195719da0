"""The value of a policy from requests with known propensities: close to the truth, refused out of reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.policy_value import Traffic, policy_values

SUCCESS = np.array([0.8, 0.4])
WORDS = ["river", "stone", "cloud", "apple", "train", "candle", "mirror", "garden", "winter", "violin"]


def traffic(share: float, n: int = 1500, said: float | None = None, seed: int = 0) -> Traffic:
    """Requests of which a share goes to prompt b, and what the log says of it."""
    rng = np.random.default_rng(seed)
    prompt = (rng.random(n) < share).astype(int)
    chance = np.where(prompt == 1, share, 1 - share) if said is None else np.full(n, said)
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), (n, 6, 5))
    questions = [" ".join("".join(word) for word in words) for words in letters]
    frame = pd.DataFrame(
        {"question": questions, "prompt": np.array(["a", "b"])[prompt], "propensity": chance}
    )
    return Traffic.of(read_log(frame.assign(correct=(rng.random(n) < SUCCESS[prompt]).astype(int))))


def test_values_and_paired_differences_hold_the_truth() -> None:
    found = traffic(0.2)
    names = (f"prompt:{found.log.names[found.log.prompts.index('b')]}", "best", "random")
    rows = policy_values(found, {name: name for name in names})
    dr = {(row["policy"], row["minus"]): row for row in rows if row["estimator"] == "dr"}
    truth = dict(zip(names, (0.4, 0.8, 0.6)))
    for (name, minus), row in dr.items():
        expected = truth[name] - (0 if minus is None else truth[minus])
        assert abs(row["value"] - expected) < 0.06 and row["low"] < expected < row["high"]
    assert len(dr) == 5


def test_a_log_that_never_explored_is_refused() -> None:
    with pytest.raises(InputError, match="never explored"):
        traffic(0.2, n=50, said=1.0)


def test_too_few_answers_and_wrong_propensities_are_refused() -> None:
    with pytest.raises(InputError, match="effective answers"):
        policy_values(traffic(0.005), {"b": "prompt:b"})
    with pytest.raises(InputError, match="weights' mean"):
        policy_values(traffic(0.5, said=0.9), {"b": "prompt:b"})
