"""scripts/evaluate_graders.py: the draw, the labels, the scores and the committed table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import evaluate_graders
import numpy as np
import pytest
from answer_forms import FORMS
from evaluate_graders import (
    COLUMNS,
    LABELS,
    NEW_LABEL_COLUMNS,
    NEW_LABELS,
    error_rows,
    labelled_new,
    sheet_row,
)
from labelled_answers import HALVES, PER_FORM, Answer, draw

from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv

REFERENCE = REPO_ROOT / "results" / "reference" / "graders.csv"
ASKED = ("gsm8k", "mawps")  # the released logs whose questions the forms take
HINT = "restore it from git"


def answer(text: str, stratum: str = "a", share: float = 1.0, gold: str = "7") -> Answer:
    return Answer(f"id {text}", stratum, "How many?", gold, "number", text, share, "held_out")


def test_answers_drawn_again_are_those_that_were_labelled() -> None:
    paths = Paths()
    logs = [paths.labels(LLM) / f"{dataset}_interactions.jsonl" for dataset in ASKED]
    missing = [path for path in [*logs, paths.fetched / "real_logs"] if not path.exists()]
    if missing:
        pytest.skip(f"needs step 2 of LLaMA-2 and fetch_data.py --datasets real_logs: no {missing[0].name}")
    drawn = draw(paths, [row for d in ASKED for row in evaluate_graders.stored_answers(d, paths)])
    labels = read_csv(NEW_LABELS, hint=HINT, columns=NEW_LABEL_COLUMNS)
    columns = ("key", "id", "stratum", "kind", "half")
    assert [tuple(getattr(a, c) for c in columns) for a in drawn] == [
        tuple(row[c] for c in columns) for row in labels
    ]
    assert sum({a.stratum: a.share for a in drawn}.values()) == pytest.approx(1)


def test_composition_of_the_labels() -> None:
    labels = read_csv(NEW_LABELS, hint=HINT, columns=NEW_LABEL_COLUMNS)
    assert len({row["key"] for row in labels}) == len(labels) == 200
    assert {row["label"] for row in labels} == {"0", "1"}
    strata = Counter(row["stratum"] for row in labels)
    logs = dict.fromkeys(("re2_gsm8k", "re2_csqa", "openai_gsm8k", "bbh_codex"), 15)
    assert strata == logs | {"nano stop": 20, "nano length": 20, "forms": 100}
    forms = Counter(row["id"].partition(":")[0] for row in labels if row["stratum"] == "forms")
    assert forms == dict.fromkeys(FORMS, PER_FORM)
    for stratum, size in strata.items():
        held_out = sum(row["half"] == "held_out" for row in labels if row["stratum"] == stratum)
        assert abs(held_out - size / 2) <= 0.5


def test_the_sheet_tells_neither_source_nor_half() -> None:
    assert sheet_row(answer("7")) == {
        "key": answer("7").key,
        "question": "How many?",
        "gold": "7",
        "answer": "7",
    }
    assert answer("7").key != answer("8").key != replace(answer("8"), gold="8").key


def test_a_text_that_was_not_read_is_refused() -> None:
    with pytest.raises(InputError, match="1 drawn answers are not as they were read: .'id 7'"):
        labelled_new([answer("7")])


def test_errors_are_weighted_by_stratum() -> None:
    answers = [answer(t, "a", 0.75) for t in ("7", "8", "7", "7")] + [
        answer(t, "b", 0.25) for t in ("7", "-7")
    ]
    label = np.array([True, True, False, True, False, False])
    original, strict, difference = error_rows(answers, label, ["original", "strict"])
    # a: one of four wrongly right, one wrongly wrong; b: `original` takes -7 for 7.
    assert original["error_rate"] == pytest.approx(0.75 * 0.5 + 0.25 * 1)
    assert strict["error_rate"] == pytest.approx(0.75 * 0.5 + 0.25 * 0.5)
    assert strict["wrongly_right"] == pytest.approx(0.75 * 0.25 + 0.25 * 0.5)
    assert strict["wrongly_wrong"] == pytest.approx(0.75 * 0.25)
    assert difference["grader"] == "strict minus original"
    assert difference["error_rate"] == pytest.approx(-0.25 * 0.5)
    assert difference["ci_low"] == pytest.approx(-0.25) and difference["ci_high"] == 0


def test_the_committed_table() -> None:
    rows = read_csv(REFERENCE, hint="run scripts/evaluate_graders.py", columns=COLUMNS)
    halves = {
        "llama2": Counter(row["half"] for row in read_csv(LABELS, hint=HINT)),
        "new": Counter(row["half"] for row in read_csv(NEW_LABELS, hint=HINT)),
    }
    graders = list(dict.fromkeys(row["grader"] for row in rows))
    assert graders[:2] == ["original", "strict"] and "strict minus original" in graders
    assert Counter((row["set"], row["half"], row["grader"]) for row in rows) == {
        (name, half, grader): 1 for name in halves for half in HALVES for grader in graders
    }
    for row in rows:
        rate, low, high = (float(row[c]) for c in ("error_rate", "ci_low", "ci_high"))
        assert int(row["n"]) == halves[row["set"]][row["half"]] and low <= rate <= high
        if "minus" not in row["grader"]:
            assert float(row["wrongly_right"]) + float(row["wrongly_wrong"]) == pytest.approx(rate, abs=2e-6)
