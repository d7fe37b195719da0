"""Near-duplicate clusters and splits: no problem stands on both sides, every test row is evaluated once."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupKFold

from prompt_oirl.data.near_duplicates import cluster_texts, in_order_of_appearance
from prompt_oirl.data.questions import load_questions
from prompt_oirl.io.files import Paths
from prompt_oirl.stats.splits import assign_folds, crossfit_splits, paper_split, prompt_subsets, subset_name

EXAMPLES = settings(max_examples=40, deadline=None)
WORDS = st.sampled_from(
    ["apples", "Coins", "has", "how", "many", "left", "gives", "three", "a", "7", "3,5", "x?"]
)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=8)


# --- clusters ----------------------------------------------------------------------------------------


def numbers_that_count(text: str) -> list[str]:
    numbers = re.findall(r"\d+(?:[.,]\d+)*", text)
    words = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+", text)
    mostly = len(words) <= 10 and 5 * len(numbers) > 2 * (len(numbers) + len(words))
    return re.findall(r"\d+(?:[.,]\d+)*|[-+*/×÷^%=<>]", text) if mostly else []


def plain_clusters(texts: list[str], threshold: float = 0.6) -> list[int]:
    """The definition read off the page: mask numbers, TF-IDF over distinct texts, join in a double loop."""
    distinct = sorted(set(texts))
    masked = [re.sub(r"\d+(?:[.,]\d+)*", "0", text.lower()) for text in distinct]
    try:
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(masked).toarray()
    except ValueError:
        vectors = np.zeros((len(distinct), 1))
    group = list(range(len(distinct)))
    for i in range(len(distinct)):
        for j in range(i):
            if vectors[i] @ vectors[j] >= threshold and group[i] != group[j]:
                old = group[i]
                group = [group[j] if g == old else g for g in group]
    whole = [(g, numbers_that_count(text)) for g, text in zip(group, distinct)]
    return [whole.index(whole[distinct.index(text)]) for text in texts]


def same_partition(a: np.ndarray | list[int], b: np.ndarray | list[int]) -> bool:
    return in_order_of_appearance(a).tolist() == in_order_of_appearance(b).tolist()


@EXAMPLES
@given(texts=st.lists(TEXTS, max_size=12))
def test_clusters_equal_the_plain_definition(texts: list[str]) -> None:
    clusters = cluster_texts(texts)
    assert clusters.dtype == np.int64 and clusters.shape == (len(texts),)
    assert same_partition(clusters, plain_clusters(texts))


def test_clusters_beyond_one_block_equal_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    words = [a + b + c for a in "bcdfghkl" for b in "aeiou" for c in "mnprstvwxz"]
    texts = [" ".join(rng.choice(words, 5)) for _ in range(550)]
    texts += [text + " " + str(rng.choice(words)) for text in texts[:50]]
    clusters = cluster_texts(texts)
    assert same_partition(clusters, plain_clusters(texts))
    assert 500 < len(set(clusters.tolist())) < len(texts) - 40


COMMON = ("the", "apples", "many", "how", "left")


def test_pairs_on_both_sides_of_the_threshold_equal_the_plain_definition() -> None:
    """Pairs of texts with words of their own and a few words changed: cosines all around 0.6."""
    rng = np.random.default_rng(0)
    texts = []
    for a in range(26):
        for b in range(10):
            words = [chr(97 + a) + chr(97 + b) + chr(97 + c) for c in range(20)]
            length = int(rng.integers(5, 15))
            text = [*words[:length], *rng.choice(COMMON, 3)]
            kept = rng.random(length + 3) < 0.75
            texts += [" ".join(text), " ".join(w for w, k in zip(text, kept) if k) + " and " + words[-1]]
    clusters = cluster_texts(texts)
    assert same_partition(clusters, plain_clusters(texts))
    assert 300 < len(set(clusters.tolist())) < 500


@EXAMPLES
@given(texts=st.lists(TEXTS, min_size=1, max_size=12), data=st.data())
def test_the_order_of_the_texts_does_not_matter(texts: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    shuffled = cluster_texts([texts[i] for i in order])
    back = np.empty(len(texts), dtype=np.int64)
    back[list(order)] = shuffled
    assert same_partition(back, cluster_texts(texts))


@EXAMPLES
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_repeating_texts_changes_nothing(texts: list[str]) -> None:
    once = cluster_texts(texts)
    assert cluster_texts(texts + texts).tolist() == [*once, *once]


def test_ids_count_up_by_first_appearance() -> None:
    clusters = cluster_texts(["red apples fall", "green coins shine", "red apples fall", "old books burn"])
    assert clusters.tolist() == [0, 1, 0, 2]
    assert in_order_of_appearance(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


@EXAMPLES
@given(
    a=st.integers(0, 10**9) | st.floats(0, 1e6).map(lambda x: f"{x:.2f}") | st.just("1,234,567.5"),
    b=st.integers(0, 10**9),
)
def test_the_same_problem_with_other_numbers_joins(a: object, b: int) -> None:
    story = "Ann has {} apples and buys {} more. How many apples does she have?"
    other = "A train leaves the station at noon and drives for hours. How far does it get?"
    assert cluster_texts([story.format(a, b), other, story.format(3, 4)]).tolist() == [0, 1, 0]


@EXAMPLES
@given(a=st.lists(st.integers(0, 13), min_size=4, max_size=4), b=st.permutations(range(1, 5)))
def test_where_numbers_are_the_problem_they_tell_problems_apart(a: list[int], b: list[int]) -> None:
    puzzle = "{} the numbers {} {} {} {} and + - * / to obtain 24."
    texts = [puzzle.format("Use", *a), puzzle.format("Use", *b), puzzle.format("Take", *a), "What is 3 + 4?"]
    texts += ["What is 3 * 4?", "3 加 5 是", "3 加 6 是"]
    assert cluster_texts(texts).tolist() == ([0, 0, 0, 1, 2, 3, 4] if a == b else [0, 1, 0, 2, 3, 4, 5])


def test_a_word_problem_is_one_however_many_numbers_its_options_hold() -> None:
    text = "Today is 1/{0}/2020. What is the date {1} days after tomorrow? (A) 2/{0}/2020 (B) 1/{1}/2020"
    assert cluster_texts([text.format(3, 5), text.format(7, 9)]).tolist() == [0, 0]


def test_a_log_of_sums_needs_little_memory() -> None:
    sums = [f"What is {a} + {b}?" for a in range(60) for b in range(60)]
    tracemalloc.start()
    assert len(set(cluster_texts(sums).tolist())) == len(sums)
    sums = [f"What is the sum of {a} and {b}?" for a in range(60) for b in range(60)]
    assert set(cluster_texts(sums).tolist()) == {0}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # all pairs at once are 400 MB


def test_joins_are_transitive() -> None:
    chain = ["aa bb cc dd ee ff gg hh", "bb cc dd ee ff gg hh ii", "cc dd ee ff gg hh ii jj"]
    chain += ["dd ee ff gg hh ii jj kk", "ee ff gg hh ii jj kk ll", "ff gg hh ii jj kk ll mm"]
    ends = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(chain).toarray()
    assert ends[0] @ ends[-1] < 0.6
    assert set(cluster_texts(chain).tolist()) == {0}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        ([""], [0]),
        (["", ""], [0, 0]),
        (["", "x", "", "y", "x"], [0, 1, 0, 2, 1]),
        (["?", "!", "?"], [0, 1, 0]),
        (["same text here"] * 3, [0, 0, 0]),
        (["a\x00b words here", "\ud800 other things"], [0, 1]),
    ],
)
def test_texts_without_words_join_only_their_copies(texts: list[str], expected: list[int]) -> None:
    assert cluster_texts(texts).tolist() == expected


@pytest.mark.real_logs
@pytest.mark.parametrize(
    ("dataset", "n_clusters", "largest"), [("gsm8k", 8397, 4), ("svamp", 1909, 33), ("mawps", 1011, 31)]
)
def test_clusters_of_the_real_questions(real_root: Path, dataset: str, n_clusters: int, largest: int) -> None:
    texts = list(dict.fromkeys(q.text for q in load_questions(dataset, Paths(real_root))))
    sizes = np.bincount(cluster_texts(texts))
    assert (len(sizes), sizes.max()) == (n_clusters, largest)


# --- splits ------------------------------------------------------------------------------------------

CLUSTERS = st.lists(st.integers(0, 14), min_size=2, max_size=40)


@EXAMPLES
@given(rows=CLUSTERS, cut=st.floats(0.2, 0.8), n_folds=st.integers(1, 6), seed=st.integers(0, 50))
def test_crossfit_keeps_clusters_on_one_side(rows: list[int], cut: float, n_folds: int, seed: int) -> None:
    clusters = in_order_of_appearance(rows)
    n_train = int(cut * len(rows))
    train_clusters, test_clusters = clusters[:n_train], clusters[n_train:]
    folds = assign_folds(clusters, n_folds, seed)
    splits = crossfit_splits(train_clusters, test_clusters, folds, "folds", seed)
    evaluated = np.concatenate([split.test for split in splits])
    assert sorted(evaluated.tolist()) == list(range(len(test_clusters)))
    for split in splits:
        train, validation = (set(train_clusters[rows].tolist()) for rows in (split.train, split.validation))
        test = set(test_clusters[split.test].tolist())
        assert not train & validation and not train & test and not validation & test
        used = np.concatenate([split.train, split.validation])
        assert len(set(used.tolist())) == len(used)
        # nothing that may be used is left out
        left_out = set(range(n_train)) - set(used.tolist())
        fold = {int(folds[c]) for c in test}
        if fold:
            assert {int(folds[train_clusters[i]]) for i in left_out} <= fold
    assert [split.name for split in splits] == [f"folds_fold{i}" for i in range(len(splits))]


@EXAMPLES
@given(n_clusters=st.integers(1, 40), n_folds=st.integers(1, 8), seed=st.integers(0, 100))
def test_folds_are_even_seeded_and_never_more_than_clusters(n_clusters: int, n_folds: int, seed: int) -> None:
    clusters = np.repeat(np.arange(n_clusters), 2)
    folds = assign_folds(clusters, n_folds, seed)
    assert folds.shape == (n_clusters,)
    sizes = np.bincount(folds)
    assert len(sizes) == min(n_folds, n_clusters) and sizes.max() - sizes.min() <= 1
    assert (assign_folds(clusters, n_folds, seed) == folds).all()
    if len(sizes) > 1:
        ids = np.arange(n_clusters)
        drawn = GroupKFold(len(sizes), shuffle=True, random_state=seed).split(ids, groups=ids)
        assert all((folds[held_out] == f).all() for f, (_, held_out) in enumerate(drawn))


def test_assignments_differ_by_seed() -> None:
    clusters = np.arange(60)
    drawn = {assign_folds(clusters, 5, seed).tobytes() for seed in range(10)}
    assert len(drawn) == 10
    # at random, not in blocks: neighbours share a fold about one time in five
    together = np.mean([np.mean(np.diff(assign_folds(clusters, 5, seed)) == 0) for seed in range(10)])
    assert 0.1 < together < 0.3


def test_crossfit_is_the_same_every_time() -> None:
    clusters = np.arange(50) % 17
    folds = assign_folds(clusters, 5, 3)
    first, second = (crossfit_splits(clusters[:35], clusters[35:], folds, "x", 3) for _ in range(2))
    for a, b in zip(first, second):
        assert all((getattr(a, part) == getattr(b, part)).all() for part in ("train", "validation", "test"))


def test_validation_is_about_a_fifth_of_the_training_clusters() -> None:
    clusters = np.arange(100)
    for split in crossfit_splits(clusters, clusters, assign_folds(clusters, 5, 0), "x"):
        assert (len(split.train), len(split.validation), len(split.test)) == (64, 16, 20)


@EXAMPLES
@given(n_train=st.integers(0, 200), n_test=st.integers(0, 50))
def test_the_paper_split_is_the_unshuffled_tail(n_train: int, n_test: int) -> None:
    split = paper_split(n_train, n_test)
    assert split.train.tolist() == list(range(int(0.8 * n_train)))
    assert split.validation.tolist() == list(range(int(0.8 * n_train), n_train))
    assert split.test.tolist() == list(range(n_test))


def test_the_63_subsets_stand_in_published_order() -> None:
    subsets = prompt_subsets(6)
    assert len(subsets) == len(set(subsets)) == 63
    names = [subset_name(s) for s in subsets]
    assert names[:8] == ["0", "1", "2", "3", "4", "5", "0_1", "0_2"]
    assert names[20:23] == ["4_5", "0_1_2", "0_1_3"]
    assert names[-7:] == [
        "0_1_2_3_4",
        "0_1_2_3_5",
        "0_1_2_4_5",
        "0_1_3_4_5",
        "0_2_3_4_5",
        "1_2_3_4_5",
        "0_1_2_3_4_5",
    ]
    assert [sum(len(s) == k for s in subsets) for k in range(1, 7)] == [6, 15, 20, 15, 6, 1]


def test_many_prompts_get_only_single_subsets_and_all() -> None:
    assert len(prompt_subsets(8)) == 255
    assert prompt_subsets(9) == [(i,) for i in range(9)] + [tuple(range(9))]
    assert prompt_subsets(1) == [(0,)]
