"""Questions, the released logs and the interaction log: read exactly, or refused with file, line and fix."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_interactions
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prompt_oirl.data import interactions, released
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.label_table import LabelTable, LabelTableBuilder
from prompt_oirl.data.prompts import Prompt, load_prompts
from prompt_oirl.data.questions import RELEASED, TOTAL_ROWS, Question, load_questions
from prompt_oirl.data.released import read_answers, read_critic_scores, read_labels, read_released, replay
from prompt_oirl.io.files import InputError, Paths

COLUMNS = ["Question", "Numbers", "Equation", "Answer"]
EXAMPLES = settings(max_examples=40, deadline=None)


def label_table(
    rows: Sequence[LogRow], split: str, prompt_ids: Sequence[str], where: str = "log"
) -> LabelTable:
    """The rows of one split and these prompts, gathered."""
    table = LabelTableBuilder(where)
    for row in rows:
        if row.split == split and row.prompt_id in prompt_ids:
            table.add(row)
    return table.table(prompt_ids)


def refused(call: Callable[[], Any], *fragments: str) -> str:
    """The one-line complaint of `call`, which must hold every fragment."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    return message


# --- SVAMP and MAWPS ---------------------------------------------------------------------------------


def mawps(root: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> Path:
    """Five MAWPS folds of the right total length; `rows` stand first, in fold 0. Returns fold 0's file."""
    folder = Paths(root).fetched / "SVAMP" / "data" / "cv_mawps"
    filler = ["Ann has number0 coins.", "3.0", "number0", "3"]
    for fold in range(5):
        path = folder / f"fold{fold}" / "train.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows if fold == 0 else [])
            writer.writerows([filler] * (TOTAL_ROWS["mawps"] - len(rows) if fold == 4 else 0))
    return folder / "fold0" / "train.csv"


def test_placeholders_are_filled_and_number10_is_not_number1(tmp_path: Path) -> None:
    numbers = [f"{i}.5" for i in range(12)]
    text = "number1 and number10, number11; number0."
    mawps(tmp_path, [[text, " ".join(numbers), "+", "1"], ["No numbers here", "", "+", "1"]])
    questions = load_questions("mawps", Paths(tmp_path))
    assert questions[0].text == "1.5 and 10.5, 11.5; 0.5."
    assert questions[1].text == "No numbers here"


def test_a_number_that_looks_like_a_placeholder_or_a_group_is_left_alone(tmp_path: Path) -> None:
    mawps(tmp_path, [["x number0 y number1", r"\g<0> number0", "+", "1"]])
    assert load_questions("mawps", Paths(tmp_path))[0].text == r"x \g<0> y number0"


def test_golds_are_the_exact_strings_of_the_csv(tmp_path: Path) -> None:
    golds = ["6", "6.0", "0.16666666666666666", "-3", "1,200", "1e3", "007"]
    mawps(tmp_path, [["q number0", "1", "+", gold] for gold in golds])
    assert [q.gold for q in load_questions("mawps", Paths(tmp_path))[: len(golds)]] == golds


def test_rows_are_cut_by_number_into_training_and_test(tmp_path: Path) -> None:
    mawps(tmp_path, [])
    questions = load_questions("mawps", Paths(tmp_path))
    assert [q.split for q in questions] == ["train"] * 6000 + ["test"] * 1685
    assert [questions[i].id for i in (0, 5999, 6000)] == ["mawps-00000", "mawps-05999", "mawps-06000"]


@pytest.mark.parametrize(
    "row",
    [["x number2", "1.0 2.0", "+", "3"], ["x number0", "1.0", "+"], ["x number0"]],
    ids=["too few numbers", "no answer", "question only"],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, row: list[str]) -> None:
    path = mawps(tmp_path, [["x number0", "1.0", "+", "1"], row])
    refused(lambda: load_questions("mawps", Paths(tmp_path)), f"{path}:3", "run scripts/fetch_data.py")


def test_the_line_is_right_below_a_question_of_two_lines(tmp_path: Path) -> None:
    path = mawps(tmp_path, [["two\nlines", "1.0", "+", "1"], ["x number2", "1.0", "+", "3"]])
    refused(lambda: load_questions("mawps", Paths(tmp_path)), f"{path}:4")


def test_a_csv_without_its_columns_is_named(tmp_path: Path) -> None:
    path = mawps(tmp_path, [["a", "1", "+", "1"]], columns=["Question", "Values", "Equation", "Answer"])
    refused(lambda: load_questions("mawps", Paths(tmp_path)), f"{path}:1", "Numbers")


def test_a_csv_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = mawps(tmp_path, [])
    path.write_bytes(path.read_bytes() + b"caf\xe9,1.0,+,1\r\n")
    refused(lambda: load_questions("mawps", Paths(tmp_path)), str(path), "run scripts/fetch_data.py")


def test_missing_and_truncated_folds_are_refused(tmp_path: Path) -> None:
    path = mawps(tmp_path, [["a", "1", "+", "1"]])
    path.write_text(",".join(COLUMNS) + "\n")
    refused(lambda: load_questions("mawps", Paths(tmp_path)), "7684", "7685", "run scripts/fetch_data.py")
    path.unlink()
    refused(lambda: load_questions("mawps", Paths(tmp_path)), str(path), "run scripts/fetch_data.py")


# --- GSM8K -------------------------------------------------------------------------------------------


def gsm8k(root: Path, train: str, test: str = "") -> Path:
    folder = Paths(root).fetched / "grade-school-math" / "grade_school_math" / "data"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text(test, encoding="utf-8", newline="")
    (folder / "train.jsonl").write_text(train, encoding="utf-8", newline="")
    return folder / "train.jsonl"


def gsm8k_line(question: str = "How many?", gold: str = "7") -> str:
    return json.dumps({"question": question, "answer": f"so 3+4=7\n#### {gold}"}) + "\n"


def test_gsm8k_golds_stand_behind_the_last_mark(tmp_path: Path) -> None:
    tricky = json.dumps({"question": "q\u2028r\r\n", "answer": "#### 1\n####  -1,234.5 "}, ensure_ascii=False)
    gsm8k(tmp_path, gsm8k_line() + tricky + "\n", gsm8k_line() * 1319)
    questions = load_questions("gsm8k", Paths(tmp_path))
    assert [q.gold for q in questions[:2]] == ["7", "-1,234.5"]
    assert questions[1].text == "q\u2028r\r\n"
    assert [q.split for q in questions] == ["train"] * 2 + ["test"] * 1000
    assert questions[-1].id == "gsm8k-test-0999"


@pytest.mark.parametrize(
    "line",
    [
        '{"question": "q", "answer": "no mark"}',
        '{"answer": "#### 1"}',
        '{"question": 3, "answer": "#### 1"}',
        '{"question": null, "answer": "#### 1"}',
        '["question", "answer"]',
        '{"question": "q", "answ',
    ],
)
def test_a_broken_gsm8k_line_is_named(tmp_path: Path, line: str) -> None:
    path = gsm8k(tmp_path, gsm8k_line() + line + "\n" + gsm8k_line())
    refused(lambda: load_questions("gsm8k", Paths(tmp_path)), f"{path}:2", "run scripts/fetch_data.py")


def test_gsm8k_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = gsm8k(tmp_path, gsm8k_line())
    path.write_bytes(path.read_bytes() + b'{"question": "caf\xe9", "answer": "#### 1"}\n')
    refused(lambda: load_questions("gsm8k", Paths(tmp_path)), str(path), "run scripts/fetch_data.py")


# --- released labels and answers ---------------------------------------------------------------------


def label_lines(labels: Sequence[bool]) -> list[str]:
    return [f"({i}, {label})" for i, label in enumerate(labels)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that hypothesis examples may overwrite."""
    return tmp_path_factory.mktemp("scratch") / "file.txt"


@EXAMPLES
@given(labels=st.lists(st.booleans(), max_size=30))
def test_labels_are_read_as_they_stand(scratch: Path, labels: list[bool]) -> None:
    scratch.write_text("".join(line + "\n" for line in label_lines(labels)))
    read = read_labels(scratch)
    assert read.dtype == bool and read.tolist() == labels


@EXAMPLES
@given(labels=st.lists(st.booleans(), min_size=3, max_size=30), data=st.data())
def test_no_line_can_be_lost_doubled_or_moved(scratch: Path, labels: list[bool], data: st.DataObject) -> None:
    lines = label_lines(labels)
    i = data.draw(st.integers(0, len(lines) - 2))
    damage = data.draw(st.sampled_from(["lost", "doubled", "moved"]))
    broken = {
        "lost": lines[:i] + lines[i + 1 :],
        "doubled": lines[: i + 1] + lines[i:],
        "moved": lines[:i] + [lines[i + 1], lines[i]] + lines[i + 2 :],
    }[damage]
    scratch.write_text("\n".join(broken) + "\n")
    refused(lambda: read_labels(scratch), f"{scratch}:{i + 1 + (damage == 'doubled')}", "delete the file")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("(1, Tru", "found '(1, Tru'"),
        ("(1, True) (1, False)", "expected '(row, True)' or '(row, False)'"),
        ("(1, True, False)", "expected '(row, True)' or '(row, False)'"),
        ("(1, TrueFalse)", "expected '(row, True)' or '(row, False)'"),
        ("(1, None)", "expected '(row, True)' or '(row, False)'"),
        ("(-1, True)", "expected '(row, True)' or '(row, False)'"),
        (" (1, True)", "expected '(row, True)' or '(row, False)'"),
        ("", "found ''"),
        ("(0, True)", "row 0 stands twice, expected row 1"),
        ("(2, True)", "row 2 follows row 0, expected row 1"),
    ],
)
def test_a_malformed_label_line_is_named(tmp_path: Path, second: str, reason: str) -> None:
    path = tmp_path / "corr.txt"
    path.write_text(f"(0, True)\n{second}\n(2, False)\n")
    refused(lambda: read_labels(path), f"{path}:2", reason, "delete the file and run scripts/fetch_data.py")


def test_labels_that_are_not_text_or_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "corr.txt"
    refused(lambda: read_labels(path), str(path), "run scripts/fetch_data.py")
    path.write_bytes(b"(0, True)\n\xff\xfe\n")
    refused(lambda: read_labels(path), str(path), "run scripts/fetch_data.py")


def answer_file(path: Path, blocks: Sequence[str]) -> Path:
    path.write_text("".join(f"{block}\n\n{'=' * 20}\n" for block in blocks), encoding="utf-8")
    return path


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=())) | st.sampled_from(
    ["a\n\n" + "=" * 20 + "\nb", "'", '"', "\\", "\r\n", "\x00", "\u2028", "\ufeff", "\u202e", "\ud800"]
)


@EXAMPLES
@given(texts=st.lists(ANY_TEXT, max_size=5))
def test_answers_are_read_as_they_stand(scratch: Path, texts: list[str]) -> None:
    answer_file(scratch, [repr(pair) for pair in enumerate(texts)])
    assert read_answers(scratch) == texts


@pytest.mark.parametrize(
    "code",
    [
        "(1, __import__('pathlib').Path({!r}).touch())",
        "(1, open({!r}, 'w').write('x'))",
        "(lambda p: open(p, 'w'))({!r})",
        "(1, f'{{open({!r}, \"w\")}}')",
    ],
)
def test_code_in_an_answer_file_is_refused_and_not_run(tmp_path: Path, code: str) -> None:
    marker = tmp_path / "ran"
    path = answer_file(tmp_path / "answers.txt", ["(0, 'fine')", code.format(str(marker))])
    refused(lambda: read_answers(path), f"{path}: block 1", "delete the file and run scripts/fetch_data.py")
    assert not marker.exists()


@pytest.mark.parametrize(
    "block",
    [
        "(1, 'cut off",
        "(1, 'a', 'b')",
        "'text'",
        "7",
        "(1, 7)",
        "(1, None)",
        "(0, 'twice')",
        "(2, 'gap')",
        pytest.param("(1, " + "[" * 5000, id="deeply nested"),
    ],
)
def test_a_malformed_answer_block_is_refused(tmp_path: Path, block: str) -> None:
    path = answer_file(tmp_path / "answers.txt", ["(0, 'fine')", block])
    refused(lambda: read_answers(path), f"{path}: block 1", "delete the file and run scripts/fetch_data.py")


# --- released columns --------------------------------------------------------------------------------

TOY = [
    Question(f"toy-{i}", f"What is {i} + {i}?", str(2 * i), "train" if i < 6 else "test") for i in range(10)
]
TOY_PROMPTS = [Prompt("cue", "The answer is:"), Prompt("held", "Think: ", role="held_out")]


def released_toy(root: Path) -> Path:
    """A released dataset of six training and four test rows; every third answer is wrong."""
    folder = Paths(root).fetched / "Prompt-OIRL" / "llama_exps" / "llama2_chat_logs" / "toy"
    folder.mkdir(parents=True)
    for prompt, questions in ((TOY_PROMPTS[0], TOY), (TOY_PROMPTS[1], TOY[6:])):
        answers = [f"It is {int(q.gold) + (i % 3 == 0)}." for i, q in enumerate(questions)]
        labels = [i % 3 != 0 for i in range(len(questions))]
        (folder / f"llama_toy_corr_{prompt.id}.txt").write_text("\n".join(label_lines(labels)) + "\n")
        answer_file(folder / f"llama_toy_answers_list_{prompt.id}.txt", [repr(p) for p in enumerate(answers)])
    return folder


def test_released_columns_are_cut_into_splits(tmp_path: Path) -> None:
    released_toy(tmp_path)
    columns = read_released("toy", TOY, TOY_PROMPTS, Paths(tmp_path))
    assert [(c.prompt.id, c.split, len(c.labels)) for c in columns] == [
        ("cue", "train", 6),
        ("cue", "test", 4),
        ("held", "test", 4),
    ]
    assert columns[1].labels.tolist() == [False, True, True, False]
    assert columns[1].answers == ["It is 13.", "It is 14.", "It is 16.", "It is 19."]
    assert all(row["agree"] == row["answers"] for row in replay(columns, TOY))


@pytest.mark.parametrize("kind", ["corr", "answers_list"])
@pytest.mark.parametrize("prompt", ["cue", "held"])
def test_a_truncated_released_file_is_named(tmp_path: Path, kind: str, prompt: str) -> None:
    path = released_toy(tmp_path) / f"llama_toy_{kind}_{prompt}.txt"
    end = "\n" if kind == "corr" else "=\n"
    whole = path.read_text()
    path.write_text(whole[: whole.rindex(end, 0, len(whole) - 1) + len(end)])
    expected = 10 if prompt == "cue" else 4
    refused(
        lambda: read_released("toy", TOY, TOY_PROMPTS, Paths(tmp_path)),
        str(path),
        f"{expected - 1} ",
        f"expected {expected}",
        "delete the file and run scripts/fetch_data.py",
    )


def test_labels_are_needed_and_answers_are_not(tmp_path: Path) -> None:
    folder = released_toy(tmp_path)
    (folder / "llama_toy_answers_list_held.txt").unlink()
    columns = read_released("toy", TOY, TOY_PROMPTS, Paths(tmp_path))
    assert columns[2].answers is None and len(list(replay(columns, TOY))) == 2
    path = folder / "llama_toy_corr_held.txt"
    path.unlink()
    refused(lambda: read_released("toy", TOY, TOY_PROMPTS, Paths(tmp_path)), str(path), "fetch_data.py")


def test_released_rows_become_interactions_and_back(tmp_path: Path) -> None:
    released_toy(tmp_path)
    asked = [replace(q, text="the same question") if i in (1, 3, 8) else q for i, q in enumerate(TOY)]
    columns = read_released("toy", asked, TOY_PROMPTS, Paths(tmp_path))
    rows = list(released.to_interactions("toy", columns, asked))
    assert {(r.question_id, r.sample) for r in rows if r.question == "the same question"} == {
        ("toy-1", 0),
        ("toy-3", 1),
        ("toy-8", 2),
    }
    assert {(r.llm, r.temperature, r.top_p, r.grader) for r in rows} == {("llama2", 0.6, 0.9, "original")}
    for column in columns:
        table = label_table(rows, column.split, [column.prompt.id])
        assert table.labels[:, 0].astype(bool).tolist() == column.labels.tolist()
        assert table.golds == [q.gold for q in asked if q.split == column.split]


# --- the real logs -----------------------------------------------------------------------------------


@pytest.mark.real_logs
def test_replaying_every_released_answer_agrees_but_for_six(real_root: Path) -> None:
    paths, prompts = Paths(real_root), load_prompts()
    agree = {}
    answers = 0
    for dataset in RELEASED:
        questions = load_questions(dataset, paths)
        for row in replay(read_released(dataset, questions, prompts, paths), questions):
            answers += int(str(row["answers"]))
            agree[dataset, row["prompt_id"], row["split"]] = int(str(row["agree"])) - int(str(row["answers"]))
    assert answers == 83_833
    # 35 files with texts; MAWPS nan and CoT each fill both splits.
    assert len(agree) == 35 + 2
    assert sum(agree.values()) == -6  # one question: gold 1/6, whose last digit the published reader lost


@pytest.mark.real_logs
@pytest.mark.parametrize("damage", ["another dataset", "shuffled", "one row late"])
def test_answers_to_other_questions_are_refused(real_root: Path, damage: str) -> None:
    paths, prompts = Paths(real_root), load_prompts()
    questions = load_questions("mawps", paths)
    columns = read_released("mawps", questions, prompts, paths)
    golds = [q.gold for q in questions]
    if damage == "another dataset":
        svamp = load_questions("svamp", paths)
        golds = [q.gold for q in svamp if q.split == "train"][:6000]
        golds += [q.gold for q in svamp if q.split == "test"][:1685]
    elif damage == "shuffled":
        golds = [golds[i] for i in np.random.default_rng(0).permutation(len(golds))]
    else:
        golds = golds[-1:] + golds[:-1]
    swapped = [replace(q, gold=gold) for q, gold in zip(questions, golds)]
    message = refused(
        lambda: list(replay(columns, swapped)), "llama_mawps_corr_nan.txt", "swapped dataset", "fetch_data.py"
    )
    agree, total = (int(number) for number in re.findall(r"(\d+) of (\d+) labels", message)[0])
    assert total == 6000 and agree < 0.8 * total


@pytest.mark.real_logs
def test_the_datasets_hold_what_is_known_of_them(real_root: Path) -> None:
    known = {
        "gsm8k": (7473, 1000, 8473, 0),
        "svamp": (15000, 4690, 3961, 4690),
        "mawps": (6000, 1685, 1744, 1685),
    }
    for dataset, (n_train, n_test, distinct, leaked) in known.items():
        questions = load_questions(dataset, Paths(real_root))
        train = [q.text for q in questions if q.split == "train"]
        test = [q.text for q in questions if q.split == "test"]
        assert (len(train), len(test), len({*train, *test})) == (n_train, n_test, distinct)
        seen = set(train)
        assert sum(text in seen for text in test) == leaked
        assert len({q.id for q in questions}) == len(questions)
        assert not any(re.search(r"number\d", text) for text in train + test)


@pytest.mark.real_logs
@pytest.mark.parametrize(("dataset", "n_test"), [("gsm8k", 1000), ("svamp", 4690), ("mawps", 1685)])
def test_critic_scores_have_a_row_per_test_question(real_root: Path, dataset: str, n_test: int) -> None:
    prompts = load_prompts()
    verdicts, confidences = read_critic_scores(dataset, prompts, n_test, Paths(real_root))
    assert verdicts.shape == confidences.shape == (n_test, 16)
    assert verdicts.dtype == bool and confidences.dtype == np.float64
    refused(
        lambda: read_critic_scores(dataset, prompts, n_test + 1, Paths(real_root)),
        f"Processed_llama_{dataset}_prompt_0_critic.npy",
        f"{n_test} rows, expected {n_test + 1}",
        "fetch_data.py",
    )


# --- the interaction log -----------------------------------------------------------------------------

ROW = {
    "schema": 1,
    "llm": "l",
    "dataset": "d",
    "split": "train",
    "question_id": "q",
    "question": "How many?",
    "gold": "1",
    "prompt_id": "p",
    "prompt": "Think: ",
    "correct": 1,
}


def joined_surrogates(text: str) -> str:
    """JSON cannot tell a high and a low surrogate side by side from the one character they stand for."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


ODD = [
    "\u2028",
    "\u2029",
    "\x85",
    "\x00",
    "\ud800",
    "\udfff",
    "\ufeff",
    "\r\n",
    "\r",
    "\n",
    "\u202eabc",
    "\x1c",
]
TEXTS = st.lists(st.characters(exclude_categories=()) | st.sampled_from(ODD), max_size=20).map(
    lambda parts: joined_surrogates("".join(parts))
)
FRACTIONS = st.floats(0, 1) | st.sampled_from([0, 1])
IDS = TEXTS.map(lambda text: "".join(c for c in text if c.isprintable()) + "x")
ROWS = st.builds(
    LogRow,
    *[IDS, IDS, st.sampled_from(interactions.SPLITS), IDS, TEXTS, TEXTS, IDS, TEXTS],
    correct=FRACTIONS,
    sample=st.integers(0, 2**40),
    answer=st.none() | TEXTS,
    finish_reason=st.none() | TEXTS,
    correct_strict=st.none() | FRACTIONS,
    temperature=st.none() | st.floats(0, 2),
    tokens_in=st.none() | st.integers(0, 10**9),
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=4))
@example(
    rows=[
        LogRow(
            *("llm", "\u02e3", "test", "=id", (o := "x".join(ODD)), o, 'p,"q', o),
            correct=0.5,
            answer="a\u2028b\nc\r\nd\x00\ud800",
        )
    ]
)
def test_any_log_survives_writing_and_reading(scratch: Path, rows: list[LogRow]) -> None:
    interactions.write(scratch, rows)
    assert interactions.read(scratch, hint="-") == rows
    written = scratch.read_bytes()
    assert written.isascii() and written.count(b"\n") == len(rows)


def log_file(path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    encoded = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    path.write_bytes(b"".join((e.encode() if isinstance(e, str) else e) + b"\n" for e in encoded))
    return path


def test_raw_unicode_and_crlf_logs_of_others_are_read(tmp_path: Path) -> None:
    line = json.dumps({**ROW, "question": "one\u2028two\u202e \U0001f600"}, ensure_ascii=False)
    path = log_file(tmp_path / "log.jsonl", line + "\r", json.dumps(ROW))
    rows = interactions.read(path, hint="-")
    assert [r.question for r in rows] == ["one\u2028two\u202e \U0001f600", "How many?"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({**ROW, "answr": "x"}, "unknown fields ['answr']"),
        ({k: v for k, v in ROW.items() if k != "gold"}, "missing fields ['gold']"),
        ({k: v for k, v in ROW.items() if k != "correct"}, "missing fields ['correct']"),
        ({**ROW, "schema": 2}, "schema 2, this version reads 1"),
        ({k: v for k, v in ROW.items() if k != "schema"}, "schema None"),
        ({**ROW, "question": 5}, "question is not text"),
        ({**ROW, "prompt_id": None}, "prompt_id is not text"),
        ({**ROW, "correct": 1.5}, "correct is 1.5"),
        ({**ROW, "correct": -0.01}, "correct is -0.01"),
        ({**ROW, "correct": float("nan")}, "correct is nan"),
        ({**ROW, "sample": 2**70}, "sample is not a whole number: 1180591620717411303424"),
        ({**ROW, "sample": True}, "sample is not a whole number: True"),
        ({**ROW, "sample": None}, "sample is not a whole number: None"),
        ({**ROW, "grader": [1]}, "grader is not text: [1]"),
        ({**ROW, "group": 5}, "group is not text: 5"),
        ({**ROW, "correct_original": "x"}, "correct_original is not a number: 'x'"),
        ({**ROW, "llm": "nul\0"}, "llm 'nul\\x00' is empty or holds a control character"),
        ({**ROW, "correct": float("inf")}, "correct is inf"),
        ({**ROW, "correct": "1"}, "correct is '1'"),
        ({**ROW, "correct": None}, "correct is None"),
        ({**ROW, "correct": [1]}, "correct is [1]"),
        ({**ROW, "sample": "0"}, "sample"),
        ({**ROW, "sample": [0]}, "sample"),
        ({**ROW, "answer": 5}, "answer"),
        ("{'single': 'quotes'}", "not valid JSON"),
        ('{"cut": "off', "not valid JSON"),
        ('{"llm": "a", "llm": "b"}', "the key 'llm' stands twice"),
        ("\ufeff" + json.dumps(ROW), "not valid JSON"),
        pytest.param("[" * 100_000, "not valid JSON", id="deeply nested"),
        pytest.param(b'{"llm": "caf\xe9"}', "", id="not UTF-8"),
        ("[1, 2]", "expected one JSON object per line"),
        ("null", "expected one JSON object per line"),
    ],
)
def test_a_malformed_log_line_is_named(tmp_path: Path, line: Any, reason: str) -> None:
    path = log_file(tmp_path / "log.jsonl", ROW, line, ROW)
    where = str(path) if isinstance(line, bytes) else f"{path}:2: "
    refused(lambda: interactions.read(path, hint="run step 1"), where, reason, "run step 1")


def test_blank_lines_are_read_over_and_keep_their_numbers(tmp_path: Path) -> None:
    path = log_file(tmp_path / "log.jsonl", ROW, "", ROW | {"sample": 1}, " ")
    assert len(list(interactions.read(path, hint="run step 1"))) == 2
    path = log_file(tmp_path / "log.jsonl", ROW, "", "no JSON")
    refused(lambda: interactions.read(path, hint="run step 1"), f"{path}:3: ", "run step 1")


def test_an_empty_or_missing_log_is_named(tmp_path: Path) -> None:
    path = log_file(tmp_path / "log.jsonl")
    refused(lambda: interactions.read(path, hint="run step 1"), f"{path}: no interactions", "run step 1")
    path.unlink()
    refused(lambda: interactions.read(path, hint="run step 1"), f"missing {path}", "run step 1")


def interaction(question: str, prompt: str, correct: float, sample: int = 0, split: str = "train") -> LogRow:
    return LogRow("l", "d", split, question, f"text of {question}", "1", prompt, "P", correct, sample=sample)


def test_a_label_is_the_mean_over_samples_and_nan_where_never_asked() -> None:
    rows = [
        interaction("b", "p", 1, 0),
        interaction("b", "p", 0, 1),
        interaction("b", "p", 0, 7),
        interaction("a", "r", 1),
        interaction("c", "other prompt", 1),
        interaction("d", "p", 1, split="test"),
    ]
    table = label_table(rows, "train", ["p", "r"])
    assert table.question_ids == ["b", "a"] and table.questions == ["text of b", "text of a"]
    assert table.labels.dtype == np.float32
    np.testing.assert_allclose(table.labels, [[1 / 3, np.nan], [np.nan, 1]], rtol=1e-6)


@EXAMPLES
@given(cells=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.floats(0, 1)), max_size=25))
def test_label_table_equals_a_plain_loop(cells: list[tuple[int, int, float]]) -> None:
    rows = [interaction(f"q{i}", f"p{j}", value, sample=n) for n, (i, j, value) in enumerate(cells)]
    table = label_table(rows, "train", ["p0", "p1", "p2"])
    for i, question in enumerate(table.question_ids):
        for j in range(3):
            values = [value for a, b, value in cells if f"q{a}" == question and b == j]
            if values:
                assert table.labels[i, j] == pytest.approx(sum(values) / len(values), abs=1e-6)
            else:
                assert np.isnan(table.labels[i, j])
    assert set(table.question_ids) == {f"q{i}" for i, _, _ in cells}


def test_a_row_that_stands_twice_is_refused() -> None:
    rows = [interaction("a", "p", 1, 3), interaction("a", "p", 0, 3)]
    message = "log.jsonl: question a, prompt p, sample 3 stands twice"
    refused(lambda: label_table(rows, "train", ["p"], "log.jsonl"), message, "merge the log")
    assert label_table(rows[:1] + [replace(rows[1], sample=4)], "train", ["p"]).labels.tolist() == [[0.5]]


def test_one_id_for_two_questions_is_refused() -> None:
    rows = [interaction("a", "p", 1), replace(interaction("a", "r", 1), question="another")]
    refused(lambda: label_table(rows, "train", ["p", "r"], "log.jsonl"), "log.jsonl", "question_id a")


def test_a_row_has_every_field_of_the_architecture() -> None:
    assert set(asdict(interaction("a", "p", 1))) >= {
        *ROW,
        "position",
        "sample",
        "answer",
        "finish_reason",
        "correct_original",
        "correct_strict",
        "grader",
        "temperature",
        "top_p",
        "max_new_tokens",
        "seed",
        "tokens_in",
        "tokens_out",
        "cost",
        "time",
    }


def test_a_log_in_parquet_is_the_same_log(tmp_path: Path) -> None:
    rows = [replace(row, group=f"g{i % 3}", seed=i) for i, row in enumerate(tiny_interactions())]
    interactions.write(tmp_path / "log.parquet", rows)
    interactions.write(tmp_path / "log.jsonl", rows)
    assert interactions.read(tmp_path / "log.parquet", hint="-") == rows
    assert (tmp_path / "log.parquet").stat().st_size < (tmp_path / "log.jsonl").stat().st_size / 10
    (tmp_path / "log.parquet").write_bytes((tmp_path / "log.parquet").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"log\.parquet: not a readable Parquet file"):
        interactions.read(tmp_path / "log.parquet", hint="-")
