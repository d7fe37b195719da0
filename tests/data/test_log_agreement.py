"""Two logs of the same questions, compared answer by answer."""

from __future__ import annotations

from dataclasses import replace

from conftest import tiny_interactions
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_agreement import Agreement, agreement

LOG = [
    replace(row, answer=f"It is {i}.", tokens_in=20 + i, tokens_out=4, finish_reason="stop")
    for i, row in enumerate(tiny_interactions(6, 2))
]
CHANGES = {
    "answer": {"answer": "Other."},
    "verdict": {"correct": 0.5},
    "reading": {"tokens_in": 3},
    "written": {"tokens_out": 5},
    "end": {"finish_reason": "length"},
}


def changed(kinds: list[str | None]) -> list[LogRow]:
    return [replace(row, **CHANGES[kind]) if kind else row for row, kind in zip(LOG, kinds)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([None, *CHANGES]), min_size=len(LOG), max_size=len(LOG)), st.randoms())
def test_each_difference_is_counted_where_it_belongs(kinds: list[str | None], random) -> None:
    other = changed(kinds)
    random.shuffle(other)
    count = {kind: kinds.count(kind) for kind in CHANGES}
    n, texts = len(LOG), len(LOG) - count["answer"]
    assert agreement(LOG, other) == Agreement(
        answers=n,
        same_text=texts,
        same_verdict=n - count["verdict"],
        same_reading=n - count["reading"],
        same_booking=texts - count["verdict"] - count["written"] - count["end"],
    )


def test_answers_of_one_log_alone_do_not_count() -> None:
    further = [replace(row, sample=1) for row in LOG[:3]]
    assert agreement(LOG + further, LOG[2:]) == agreement(LOG[2:], LOG) == Agreement(*[len(LOG) - 2] * 5)
    assert agreement(further, LOG).answers == 0
