"""Segments as columns: centred over the log, zeros where unknown, few and large."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_oirl.features.segments import FEWEST, MOST, Segments
from prompt_oirl.io.files import InputError


def test_columns_of_a_small_log() -> None:
    log = ["a"] * 15 + ["b"] * 5 + ["rare"] * (FEWEST - 1) + [None] * 3
    found = Segments.of(log)
    assert found == Segments(("a", "b"), (0.75, 0.25))
    assert found.columns(["a", " b ", "rare", None, "new", float("nan")], 6).tolist() == [
        [0.25, -0.25],
        [-0.75, 0.75],
        [0.0, 0.0],
        [0.0, 0.0],
        [0.0, 0.0],
        [0.0, 0.0],
    ]
    assert found.columns(None, 2).tolist() == [[0.0, 0.0]] * 2


@pytest.mark.parametrize("log", [None, [], [None] * 9, ["a"] * 50, ["a"] * 50 + ["b"] * (FEWEST - 1)])
def test_one_segment_tells_nothing(log: list | None) -> None:
    assert Segments.of(log) == Segments() and Segments.of(log).columns(["a"], 1).shape == (1, 0)


def test_of_many_the_largest_are_told_apart() -> None:
    log = [f"s{i}" for i in range(MOST + 20) for _ in range(FEWEST + i)]
    assert set(Segments.of(log).names) == {f"s{i}" for i in range(20, MOST + 20)}


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=80))
def test_columns_have_mean_zero_and_questions_of_two_segments_differ_by_length_root_two(log: list) -> None:
    found, counts = Segments.of(log), Counter(log)
    columns = found.columns(log, len(log)).astype(np.float64)
    assert np.abs(columns.sum(0)).max(initial=0) < 1e-4
    for first, second in zip(found.names, found.names[1:]):
        assert counts[first] >= counts[second] >= FEWEST
        apart = columns[log.index(first)] - columns[log.index(second)]
        assert apart @ apart == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ("ab", "give a list of texts, not one str"),
        (pd.DataFrame({"a": [1, 2]}), "not one DataFrame"),
        (["a"], "1 for 2 questions"),
        (["a", 3], r"segments\[1\] is int"),
    ],
)
def test_bad_segments_are_refused(segments: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segments().columns(segments, 2)  # type: ignore[arg-type]
