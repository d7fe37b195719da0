"""Answer kinds and graders: the published golden values, sound verdicts, and no reward for constant
answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import mirror_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl import grading
from prompt_oirl.data.questions import Question, load_own_questions
from prompt_oirl.grading import kinds, numbers, opro
from prompt_oirl.io.files import InputError, Paths
from prompt_oirl.opro import benchmarks, tasks

# Measured on the published code (specification of OPRO, 2.4): regression vectors, right under both graders.
GOOD = [
    ("The answer is $1,234.50.", "1234", "1234.5"),
    ("So 3 + 4 = 7 apples", "7", "7"),
    ("He has 12 apples and 3 pears", "3", "3"),
    ("The answer is 5 apples and 6 pears", "5", "5"),
    ("10 is the answer. 12", "10", "10"),
    ("#### 72", "72", "72"),
    ("**42**", "42", "42"),
    ("The answer is -3", "-3", "-3"),
    ("about 50%", "50", "50"),
    ("the answer is: 18\nQ: another?", "18", "18"),
]
# Its lenient readings, kept under `opro` and wrong under `strict`: answer, what opro reads, a gold that it
# wrongly accepts.
HACKS = [
    ("seventeen", "7"),
    ("fourteen", "4"),
    ("The answer is twenty one", "20"),
    ("none", "1"),
    ("I have no money", "1"),
    ("answer: 1/2", "2"),
    ("The answer is 2.5", "2"),
    ("The answer is 3.5", "4"),
]


@pytest.mark.parametrize(("answer", "published", "gold"), GOOD)
def test_good_vectors(answer: str, published: str, gold: str) -> None:
    assert opro.normalized(answer, "number") == published
    assert grading.verdict("strict", answer, gold)
    assert grading.verdict("opro", answer, gold)


@pytest.mark.parametrize(("answer", "published"), HACKS)
def test_lenient_readings_are_right_under_opro_only(answer: str, published: str) -> None:
    assert opro.normalized(answer, "number") == published
    assert grading.verdict("opro", answer, published)
    assert not grading.verdict("strict", answer, published)


def test_golden_readings_of_other_kinds() -> None:
    assert opro.normalized("The answer is (B) banana", "choice") == "(b)"
    assert opro.normalized("The answer is: 1.", "bool") == "true"
    assert opro.normalized("(see above) (b)", "choice") == "(see above)"


@pytest.mark.parametrize(
    ("kind", "gold", "answer", "lenient"),
    [
        ("number", "-3", "3", True),
        ("bool", "valid", "invalid", True),
        ("bool", "No", "i do not know", True),
        ("choice", "A", "because", True),
        ("choice", "D", "because", False),
        ("choice", "D", "abcde", True),
        ("bool", "Yes", "yes and no", True),
        ("text", "] ]", "", True),
    ],
)
def test_hacks_are_wrong_under_strict(kind: str, gold: str, answer: str, lenient: bool) -> None:
    assert grading.verdict("opro", answer, gold, kind) == lenient
    assert not grading.verdict("strict", answer, gold, kind)


QUESTION = "Which?\nOptions:\n(A) red apple\n(B) apple\n(C) I am a dog"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("(B)", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("The answer is (B).", "B"),
        ("So the answer is B.", "B"),
        ("**(B)**", "B"),
        ("Answer: **B**", "B"),
        ("apple", "B"),
        ("red apple", "A"),
        ("The answer is red apple", "A"),
        ("Option B", "B"),
        ("The answer is \\boxed{B}", "B"),
        ("(A) is wrong, (B) is right. The answer is (B)", "B"),
        ("The correct option is (C) I am a dog.", "C"),
        (QUESTION + "\nB", "B"),
        (QUESTION, None),
        ("A or B", None),
        ("(A) (B) (C)", None),
        ("A, B, C", None),
        ("I think so", None),
        ("A dog barks", None),
        ("abc", None),
        ("", None),
        ("The answer is (C), not (B)", "C"),
    ],
)
def test_choices(answer: str, letter: str | None) -> None:
    assert kinds.strict_choice(answer, QUESTION) == letter


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("The argument is invalid.", "valid", False),
        ("not valid", "valid", False),
        ("Yes, because no one", "yes", True),
        ("The answer is: 1.", "yes", True),
        ("0", "yes", False),
        ("True", "yes", True),
        ("yes and no", "yes", None),
        ("i do not know", "yes", None),
        ("So the answer is no.", "Yes", False),
        ("maybe", "yes", None),
    ],
)
def test_truth_values(answer: str, gold: str, value: bool | None) -> None:
    assert kinds.strict_bool(answer, gold) == value


def test_texts_are_compared_whole() -> None:
    for answer in ("a b c", "The answer is: a b c.", "Sorted:\na, b, c", "**A B C**"):
        assert grading.verdict("strict", answer, "a b c", "text")
    for answer in ("", "a b", "a b c d", "b a c", "a b c or c b a"):
        assert not grading.verdict("strict", answer, "a b c", "text")
    assert grading.verdict("strict", "The answer is ] ] )", "] ] )", "text")
    assert grading.verdict("strict", "]])", "] ] )", "text")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seventeen", 17),
        ("twenty one", 21),
        ("Twenty-one apples", 21),
        ("one hundred and five", 105),
        ("The answer is three thousand two hundred.", 3200),
        ("minus four", -4),
        ("none", None),
        ("someone", None),
    ],
)
def test_spelled_numbers(text: str, value: int | None) -> None:
    assert numbers.strict_number(text) == value


@given(st.text(max_size=200), st.sampled_from(["number", "choice", "bool", "text"]), st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_graders_take_any_text(answer: str, kind: str, gold: str) -> None:
    for grader in grading.GRADERS:
        assert grading.verdict(grader, answer, gold, kind, QUESTION) in (True, False)


@given(
    st.sampled_from("ABC"),
    st.sampled_from(["({})", "The answer is ({}).", "so, the answer is {}", "Answer: {}"]),
)
def test_a_stated_letter_is_right_for_itself_alone(letter: str, form: str) -> None:
    right = [
        gold
        for gold in "ABC"
        if grading.verdict("strict", form.format(letter), f"({gold})", "choice", QUESTION)
    ]
    assert right == [letter]


# --- the benchmark files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = mirror_folder()
    if folder is None or not (folder / "opro").is_dir():
        pytest.skip("OPRO's data files are not here: set PROMPT_OIRL_MIRROR")
    root = tmp_path_factory.mktemp("opro_data")
    Paths(root).fetched.mkdir(parents=True)
    (Paths(root).fetched / "opro").symlink_to(folder / "opro")
    return root


LETTERS = " ".join(f"({c})" for c in benchmarks.LETTERS[:18])
ALL = [*(f"bbh_{n}" for n in benchmarks.BBH), "aqua", "multiarith", *(f"mmlu_{n}" for n in benchmarks.MMLU)]


def test_counts(root: Path) -> None:
    """Counts of the published files."""
    sizes = {name: len(tasks.load_task(name, Paths(root)).questions) for name in ALL}
    odd = {
        "bbh_causal_judgement": 187,
        "bbh_snarks": 178,
        "bbh_penguins_in_a_table": 146,
        "aqua": 254,
        "multiarith": 600,
    }
    for name, size in sizes.items():
        if not name.startswith("mmlu"):
            assert size == odd.get(name, 250)
    assert len(benchmarks.BBH) == 27 and sum(map(len, benchmarks.MMLU.values())) == 57
    assert sum(sizes[f"mmlu_{n}"] for n in benchmarks.MMLU) == 14042


@pytest.mark.parametrize("name", ALL)
def test_no_constant_answer_beats_the_majority_class(name: str, root: Path) -> None:
    asked = tasks.load_task(name, Paths(root)).questions[:150]
    golds = Counter(q.gold for q in asked)
    words = [
        "",
        "yes",
        "no",
        "yes and no",
        "true",
        "false",
        "true and false",
        "valid",
        "invalid",
        "valid and invalid",
        "0",
        "1",
    ]
    words += [
        LETTERS,
        "abcde",
        "because",
        "i do not know",
        "A, B, C, D, E",
        "(A)(B)(C)(D)",
        "A or B",
        "1 2 3 4 5 6 7 8 9 10",
    ]
    words += [
        "] ] ] ) ) } } > >",
        "The answer is",
        "none of these",
        "all of them",
        " ".join(list(golds)[:50]),
    ]
    words += [f"The answer is {gold}" for gold, _ in golds.most_common(3)] + [
        gold for gold, _ in golds.most_common(3)
    ]
    majority = max(golds.values()) / len(asked)
    for word in words:
        right = sum(grading.verdict("strict", word, q.gold, q.kind, q.text) for q in asked) / len(asked)
        assert right <= majority + 1e-9, word
    echo = sum(grading.verdict("strict", q.text, q.gold, q.kind, q.text) for q in asked) / len(asked)
    assert echo <= majority


@pytest.mark.parametrize("name", ALL)
def test_every_gold_is_right(name: str, root: Path) -> None:
    for q in tasks.load_task(name, Paths(root)).questions[:400]:
        assert grading.verdict("strict", f"Let me see. The answer is {q.gold}", q.gold, q.kind, q.text), q


@pytest.mark.parametrize(
    ("name", "answer", "percent"),
    [
        ("bbh_dyck_languages", "", 100.0),
        ("bbh_formal_fallacies", "invalid", 100.0),
        ("bbh_navigate", "yes and no", 100.0),
        ("bbh_sports_understanding", "yes and no", 100.0),
        ("bbh_web_of_lies", "yes and no", 100.0),
        ("bbh_movie_recommendation", LETTERS, 99.6),
        ("bbh_geometric_shapes", LETTERS, 100.0),
        ("bbh_boolean_expressions", None, 83.6),
        ("aqua", "because", 79.1),
        ("aqua", "abcde", 100.0),
    ],
)
def test_the_published_grader_rewards_constant_answers_as_measured(
    name: str, answer: str | None, percent: float, root: Path
) -> None:
    asked = tasks.load_task(name, Paths(root)).questions
    right = [
        grading.verdict("opro", q.text if answer is None else answer, q.gold, q.kind, q.text) for q in asked
    ]
    assert round(100 * sum(right) / len(right), 1) == percent


@pytest.mark.parametrize(
    "name", ["bbh_navigate", "bbh_date_understanding", "aqua", "multiarith", "mmlu_anatomy"]
)
def test_parts_share_no_group(name: str, root: Path) -> None:
    task = tasks.load_task(name, Paths(root))
    parts = tasks.divide(task, 50, 50, 200, 0)
    sides = [set(parts.clusters(part)) for part in (parts.train, parts.validation, parts.test)]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert parts == tasks.divide(task, 50, 50, 200, 0) != tasks.divide(task, 50, 50, 200, 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "validation", "test"]), st.integers(0, 12)),
        min_size=12,
        max_size=60,
    ),
    st.integers(1, 10),
    st.integers(1, 10),
    st.integers(1, 10),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_any_grouping(
    rows: list[tuple[str, int]], train: int, validation: int, test: int, seed: int
) -> None:
    asked = tuple(Question(str(i), f"q{i}", "1", split, group=str(g)) for i, (split, g) in enumerate(rows))
    try:
        parts = tasks.divide(tasks.QuestionTask("t", asked, "sums"), train, validation, test, seed)
    except InputError as error:
        assert "no question is left" in str(error)
        return
    sides = [set(parts.clusters(part)) for part in (parts.train, parts.validation, parts.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert len(parts.train) <= train and len(parts.validation) <= validation and len(parts.test) <= test


def test_own_questions_bring_their_kind(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("question,gold,kind\nIs it?,yes,bool\nHow many?,3,\n")
    assert [q.kind for q in load_own_questions(tmp_path / "q.csv", "mine")] == ["bool", "number"]
    (tmp_path / "q.csv").write_text("question,gold,kind\nIs it?,yes,logic\n")
    with pytest.raises(InputError, match="kind is 'logic', expected one of number, choice, bool, text"):
        load_own_questions(tmp_path / "q.csv", "mine")


def test_missing_data_and_unknown_tasks_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scripts/fetch_data.py --datasets"):
        tasks.load_task("bbh_navigate", Paths(tmp_path))
    with pytest.raises(InputError, match="--questions FILE"):
        tasks.load_task("bbh_nothing", Paths(tmp_path))
