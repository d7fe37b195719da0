"""lm-eval's samples as a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tool_files import QUESTIONS, TIME, sample_folder, write_lm_eval

from prompt_oirl.importers.lm_eval import read
from prompt_oirl.importers.log_file import read_answers
from prompt_oirl.io.files import InputError

COT, PLAIN = "Q: {{question}}\nA: Let's think step by step.", "{{ doc.question | trim }}"


def test_a_real_run() -> None:
    """Three questions, two tasks, two filters, two replies each: six answers."""
    folder = sample_folder("lmeval")
    found = read([folder], "strict-match")
    assert [(r.question, r.prompt) for r in found.rows] == [
        (question, prompt)
        for prompt in ("Q: {{question}}\nA: Let's think step by step.", "{{question}}")
        for question in (
            "Ann has 3 apples and finds 4 more. How many has she?",
            "A box holds 12 eggs and 5 break. How many are whole?",
            "Tom reads 6 pages a day for 5 days. How many pages is that?",
        )
    ]
    assert {(r.correct, r.answer, r.llm, r.sample) for r in found.rows} == {(0.0, "lol", "i82qcls7", 0)}
    assert [r.gold for r in found.rows[:3]] == ["7", "7", "30"]
    assert [r.prompt_id for r in found.rows] == ["toy_cot"] * 3 + ["toy_plain"] * 3
    assert len({r.group for r in found.rows}) == 3
    assert found.notes == [
        "correct is the verdict exact_match,strict-match.",
        "Up to 2 replies a question have one verdict together: the first is the answer.",
    ]
    assert read(sorted(folder.glob("samples_*")), "exact_match,strict-match") == found  # results lie beside
    with pytest.raises(
        InputError, match="exact_match,strict-match, exact_match,flexible-extract; choose one"
    ):
        read([folder], None)
    with pytest.raises(InputError, match="is one of several: exact_match,strict-match, exact_match,flexible"):
        read([folder], "exact_match")
    with pytest.raises(InputError, match="there is no verdict f1 "):
        read([folder], "f1")


def test_tasks_ask_the_same_questions_with_their_templates(tmp_path: Path) -> None:
    write_lm_eval(tmp_path / "a", {"cot": COT, "plain": PLAIN})
    rows = read([tmp_path], None).rows
    assert [r.question for r in rows] == list(QUESTIONS) * 2
    assert [r.prompt for r in rows] == [COT, COT, PLAIN, PLAIN]
    assert [r.correct for r in rows] == [1.0, 0.0] * 2 and [r.sample for r in rows] == [0] * 4
    write_lm_eval(tmp_path / "b", {"cot": COT})
    assert sorted(r.sample or 0 for r in read([tmp_path], None).rows) == [0] * 4 + [1] * 2


def test_the_prompt_is_all_that_stays_the_same(tmp_path: Path) -> None:
    write_lm_eval(tmp_path, {"cot": COT})
    path = tmp_path / f"results_{TIME}.json"
    results = json.loads(path.read_text())
    results["configs"]["cot"] |= {"description": "Some sums.\n", "gen_prefix": " So"}
    path.write_text(json.dumps(results | {"n-shot": {"cot": 5}, "system_instruction": "Be kind."}))
    assert read([tmp_path], None).rows[0].prompt == f"Be kind.\n\nSome sums.\n[5 examples]\n\n{COT} So"


def test_templates_that_are_code_are_found_in_the_rendered_texts(tmp_path: Path) -> None:
    write_lm_eval(tmp_path, {"cot": COT, "other": "{{question}}\nGo!"})
    path = tmp_path / f"results_{TIME}.json"
    results = json.loads(path.read_text())
    for config in results["configs"].values():
        config["doc_to_text"] = "<function doc_to_text at 0x7f>"
    path.write_text(json.dumps(results))
    found = read_answers("lm-eval", [tmp_path], None)
    assert {r.question for r in found.rows} == set(QUESTIONS)
    assert {r.prompt for r in found.rows} == {
        "Q: {question}\nA: Let's think step by step.",
        "{question}\nGo!",
    }


def test_of_a_choice_the_likeliest_continuation_is_the_answer(tmp_path: Path) -> None:
    arguments = {f"gen_args_{k}": {"arg_0": "Which?", "arg_1": f" {name}"} for k, name in enumerate("ABC")}
    likely = [[["-3.5", "False"]], [["-0.5", "True"]], [["-9.0", "False"]]]
    write_lm_eval(tmp_path, {"cot": COT}, resps=likely, arguments=arguments)
    found = read([tmp_path], None)
    assert {r.answer for r in found.rows} == {" B"} and len(found.notes) == 1
    write_lm_eval(
        tmp_path, {"cot": COT}, resps=likely, arguments=[["Which?", " A"], ["Which?", " B"], ["", ""]]
    )
    assert {r.answer for r in read([tmp_path], None).rows} == {" B"}


@pytest.mark.parametrize(("value", "correct"), [(True, 1.0), ([0.5], 0.5), (0.25, 0.25)])
def test_metrics_from_0_to_1(tmp_path: Path, value: Any, correct: float) -> None:
    write_lm_eval(tmp_path, {"cot": COT}, acc=value)
    assert {r.correct for r in read([tmp_path], None).rows} == {correct}


@pytest.mark.parametrize("value", [[1, 2], -12.5, 1.5, None, {"a": 1}, "high", 10**400])
def test_other_metrics_are_no_verdict(tmp_path: Path, value: Any) -> None:
    write_lm_eval(tmp_path, {"cot": COT}, acc=value)
    found = read([tmp_path], None)
    assert {r.correct for r in found.rows} == {None} and "No metric is a number from 0 to 1." in found.notes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / f"results_{TIME}.json").unlink(), "missing .*results_2026.*give the folder"),
        (lambda f: (f / f"results_{TIME}.json").write_text("{}"), "no task cot among its configs"),
        (lambda f: (f / f"samples_cot_{TIME}.jsonl").write_text("{}\n"), r"jsonl:1: no object doc"),
        (lambda f: (f / f"samples_cot_{TIME}.jsonl").unlink(), "no samples_.*jsonl among the files"),
        (
            lambda f: (f / f"samples_cot_{TIME}.jsonl").rename(f / "samples_x.jsonl"),
            "name is not samples_TASK",
        ),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(write_lm_eval(tmp_path, {"cot": COT}))
    with pytest.raises(InputError, match=message):
        read([tmp_path], None)
