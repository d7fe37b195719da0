"""promptfoo's results as a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tool_files import QUESTIONS, promptfoo_results, repeats, sample_folder

from prompt_oirl.importers.promptfoo import read
from prompt_oirl.io.files import InputError

COT = "Q: {{question}} Let's think step by step."
CHAT = '[{"role":"system","content":"Answer with a number."},{"role":"user","content":"{{question}}"}]'
ANN = "Ann has 3 apples and finds 4 more. How many has she?"
BOX = "A box holds 12 eggs, 5 break. How many are whole?"


def written(folder: Path, results: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(results))
    return path


def as_json_lines(folder: Path, results: Any) -> Path:
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in results["results"]["results"]))
    return path


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
def test_a_real_run(name: str) -> None:
    """Two questions, two prompts, twice: eight answers of an echo; the templates are the configured ones."""
    path = sample_folder("promptfoo") / name
    rows = read([path], "contains").rows
    assert [(r.question, r.prompt, n) for r, n in zip(rows, repeats(rows))] == [
        (question, prompt, sample) for question in (ANN, BOX) for sample in (0, 1) for prompt in (COT, CHAT)
    ]
    # "7" is in no echo; "12" is in the second question, "zzz" is not, and both are asserted.
    assert [r.correct for r in rows] == [0.0] * 8
    assert [r.correct for r in read([path], "has12").rows] == [None] * 4 + [1.0] * 4
    assert [r.correct for r in read([path], "latency").rows] == [1.0] * 4 + [None] * 4
    assert [r.correct for r in read([path], "all").rows] == [0.0] * 8
    assert rows[0].answer == f"Q: {ANN} Let's think step by step." and rows[0].llm == "echo"
    assert (rows[0].cost, rows[0].tokens_in, rows[0].tokens_out) == (0.0, 0, 0)
    with pytest.raises(
        InputError,
        match="several verdicts: contains, has12, zzz, all, latency; choose .*all: the worst of all but lat",
    ):
        read([path], None)


def test_a_real_table_holds_labels_and_metrics() -> None:
    path = sample_folder("promptfoo") / "results.csv"
    rows = read([path], "Status").rows
    assert [(r.question, r.prompt, n, r.llm) for r, n in zip(rows, repeats(rows))] == [
        (question, prompt, sample, "echo")
        for question in (ANN, BOX)
        for sample in (0, 1)
        for prompt in (COT, "terse")
    ]
    assert [r.correct for r in rows] == [0.0] * 8
    assert [r.correct for r in read([path], "has12").rows] == [None] * 4 + [1.0] * 4
    with pytest.raises(InputError, match="several verdicts: Status, has12, zzz"):
        read([path], None)


def test_of_a_folder_each_run_is_read_once_in_its_richest_format(tmp_path: Path) -> None:
    folder = sample_folder("promptfoo")
    found = read([folder], "contains")
    assert found.rows == read([folder / "results.json"], "contains").rows
    assert "results.csv is left out: results.json holds the same run." in found.notes


def test_the_only_verdict_is_taken_and_several_assertions_count_by_their_worst(tmp_path: Path) -> None:
    results = promptfoo_results([COT, CHAT], "equals", "equals")
    rows = read([written(tmp_path, results)], None).rows
    assert [r.correct for r in rows] == [1.0, 1.0, 0.0, 0.0]
    assert (rows[0].cost, rows[0].tokens_in, rows[0].tokens_out) == (0.25, 11, 4)
    results["results"]["results"][0]["gradingResult"]["componentResults"][1]["score"] = 0.5
    assert read([written(tmp_path, results)], None).rows[0].correct == 0.5


def test_a_table_that_is_named_in_two_ways_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("question,[a] {{question}},Status\nQ1?,1,PASS\n")
    spelt = tmp_path / ".." / tmp_path.name / path.name
    assert read([path, spelt], None) == read([path], None) and len(read([path], None).rows) == 1


def test_one_answer_without_assertions_needs_grading(tmp_path: Path) -> None:
    results = promptfoo_results([COT])
    del results["results"]["results"][1]
    assert read([written(tmp_path, results)], None).notes == ["1 answer without a verdict: it needs grading."]


def test_a_metric_that_is_the_same_as_its_type_is_no_second_verdict(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "llm-rubric")
    for row in results["results"]["results"]:
        row["gradingResult"]["componentResults"][0]["assertion"]["metric"] = "quality"
    path = written(tmp_path, results)
    assert [r.correct for r in read([path], None).rows] == [1.0, 0.0]
    assert read([path], "llm-rubric").notes == ["correct is the verdict llm-rubric."]


def test_parts_of_an_assertion_set_count(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "equals")
    for row in results["results"]["results"]:
        grading = row["gradingResult"]
        grading["componentResults"] = [{"pass": True, "componentResults": grading["componentResults"]}]
    assert [r.correct for r in read([written(tmp_path, results)], "equals").rows] == [1.0, 0.0]


def test_answers_without_assertions_are_ungraded(tmp_path: Path) -> None:
    found = read([written(tmp_path, promptfoo_results([COT, CHAT]))], None)
    assert {r.correct for r in found.rows} == {None} and found.notes == [
        "4 answers without a verdict: they need grading."
    ]


def test_all_fields_that_prompts_show_make_the_question(tmp_path: Path) -> None:
    results = promptfoo_results(["{{context}} - {{ question | upper }}", "{{question}}"], "equals")
    for row in results["results"]["results"]:
        row["vars"] = {"answer": "7", "question": row["vars"]["question"], "context": "Sums."}
    rows = read([written(tmp_path, results)], None).rows
    assert [r.question for r in rows] == [f"Sums.\n{q}" for q in QUESTIONS for _ in range(2)]


def test_json_lines_with_quotes_in_questions_and_answers_that_stand_in_prompts(tmp_path: Path) -> None:
    results = promptfoo_results(["7 rules. {{question}}", CHAT], "equals")
    for i, row in enumerate(results["results"]["results"]):
        question = row["vars"]["question"] = f'Who said "{i // 2}"?\nAnd when?'
        row["prompt"]["raw"] = (
            f"7 rules. {question}"
            if i % 2 == 0
            else json.dumps(json.loads(CHAT.replace("{{question}}", json.dumps(question)[1:-1])))
        )
    rows = read([as_json_lines(tmp_path, results)], None).rows
    assert {r.prompt for r in rows} == {"7 rules. {{question}}", json.dumps(json.loads(CHAT))}
    results["results"]["results"][0]["prompt"]["raw"] = "something else"
    assert {r.prompt for r in read([as_json_lines(tmp_path, results)], None).rows} == {
        "label 0",
        json.dumps(json.loads(CHAT)),
    }


def changed(results: Any, number: int, **fields: Any) -> Any:
    """The results with fields of one of them set."""
    results["results"]["results"][number] |= fields
    return results


def test_tests_asserted_in_different_ways_have_a_verdict_together(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "contains")
    parts = [{"pass": True, "assertion": {"type": "regex"}}, {"pass": False, "assertion": {"type": "cost"}}]
    path = written(tmp_path, changed(results, 1, gradingResult={"componentResults": parts}))
    with pytest.raises(InputError, match="several verdicts: contains, regex, all, cost;"):
        read([path], None)
    found = read([path], "all")
    assert [r.correct for r in found.rows] == [1.0, 1.0]
    assert "all is the worst verdict of an answer, latency and cost left out." in found.notes
    path = written(tmp_path, promptfoo_results([COT], "contains"))
    assert [r.correct for r in read([path], "all").rows] == [r.correct for r in read([path], None).rows]


def test_a_verdict_that_code_returned_has_the_name_of_the_assertion_in_its_place(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "javascript")
    for row in results["results"]["results"]:
        del row["gradingResult"]["componentResults"][0]["assertion"]
        row["testCase"] = {"assert": [{"type": "javascript", "value": "({pass: true})"}]}
    found = read([written(tmp_path, results)], None)
    assert [r.correct for r in found.rows] == [1.0, 0.0] and found.notes == [
        "correct is the verdict javascript."
    ]


def test_an_answer_whose_grader_failed_is_ungraded(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "llm-rubric")
    part = results["results"]["results"][1]["gradingResult"]["componentResults"][0]
    part["metadata"] = {"graderError": True}
    assert [r.correct for r in read([written(tmp_path, results)], None).rows] == [1.0, None]


@pytest.mark.parametrize("write", [written, as_json_lines])
def test_results_without_an_answer_are_left_out_with_the_cause(tmp_path: Path, write: Any) -> None:
    failed = {"response": None, "error": "429: slow\ndown", "gradingResult": None, "success": False}
    results = changed(promptfoo_results([COT, CHAT], "equals"), 2, **failed)
    found = read([write(tmp_path, results)], None)
    assert [r.correct for r in found.rows] == [1.0, 1.0, 0.0]
    assert found.notes[0] == "1 result is left out: the provider gave no answer (429: slow down)."
    for i in range(4):
        changed(results, i, **failed)
    with pytest.raises(
        InputError, match="no result has an answer .429: slow down.; run promptfoo eval again"
    ):
        read([write(tmp_path, results)], None)


def test_an_empty_answer_that_failed_its_assertion_is_wrong(tmp_path: Path) -> None:
    results = changed(promptfoo_results([COT], "equals"), 1, response={"output": None}, error="Expected 7")
    assert [r.correct for r in read([written(tmp_path, results)], None).rows] == [1.0, 0.0]


def test_in_a_table_errors_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(
        "question,[a] {{question}},Status,[b] {{question}},Status\n"
        "Q1?,1,PASS,Timed out,ERROR\nQ2?,2,FAIL,2,PASS\n"
    )
    found = read([path], None)
    assert [(r.question, r.llm, r.correct) for r in found.rows] == [
        ("Q1?", "a", 1.0),
        ("Q2?", "a", 0.0),
        ("Q2?", "b", 1.0),
    ]
    assert found.notes[0] == "1 result is left out: the provider gave no answer (Timed out)."


@pytest.mark.parametrize("write", [written, as_json_lines])
def test_providers_of_one_name_are_no_repeats(tmp_path: Path, write: Any) -> None:
    """Their labels tell them apart, or else their columns; only a test that was run again is a repeat."""
    results = promptfoo_results([COT, COT], "equals")
    for row in results["results"]["results"]:
        row["prompt"]["label"] = COT
    rows = read([write(tmp_path, results)], None).rows
    assert [(r.llm, n) for r, n in zip(rows, repeats(rows))] == [("tiny", 0), ("tiny (2)", 0)] * 2
    for i, row in enumerate(results["results"]["results"]):
        row["provider"]["label"] = f"temperature {i % 2}"
    rows = read([write(tmp_path, results)], None).rows
    assert [(r.llm, n) for r, n in zip(rows, repeats(rows))] == [
        ("temperature 0", 0),
        ("temperature 1", 0),
    ] * 2
    results["results"]["results"] *= 2
    rows = read([write(tmp_path, results)], None).rows
    assert repeats(rows) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("write", [written, as_json_lines])
def test_providers_of_one_name_with_prompts_of_their_own_are_not_taken_for_one(
    tmp_path: Path, write: Any
) -> None:
    """Columns: one prompt of the first provider, both of the second, in any order of the results."""
    results = promptfoo_results([COT, COT, CHAT], "equals")
    for row in results["results"]["results"]:
        row["prompt"]["label"] = [COT, COT, CHAT][row["promptIdx"]]
    results["results"]["results"].reverse()
    found = read([write(tmp_path, results)], None)
    assert [(r.prompt, r.llm) for r in found.rows] == [
        (CHAT, "tiny (3)"),
        (COT, "tiny (2)"),
        (COT, "tiny"),
    ] * 2
    assert "providers called tiny were asked different prompts and cannot be told apart" in found.notes[0]


def test_a_provider_that_failed_keeps_its_column(tmp_path: Path) -> None:
    results = promptfoo_results([COT, COT], "equals")
    for i in (0, 2):
        changed(results, i, response=None, error="down", gradingResult=None)
    assert {r.llm for r in read([written(tmp_path, results)], None).rows} == {"tiny (2)"}


def test_an_assertion_that_failed_is_wrong_whatever_its_score(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "llm-rubric")
    results["results"]["results"][1]["gradingResult"]["componentResults"][0]["score"] = 0.8
    found = read([written(tmp_path, results)], None)
    assert [(r.correct, r.verdict) for r in found.rows] == [(1.0, "llm-rubric"), (0.0, "llm-rubric")]


def test_a_result_has_the_same_id_in_each_file_of_its_run(tmp_path: Path) -> None:
    results = promptfoo_results([COT], "equals")
    assert {r.answer_id for r in read([written(tmp_path, results)], None).rows} == {None}
    changed(results, 0, id="9c1c09ed-f387-4bf1-a497-e6aaf8efb4fc")
    changed(results, 1, id="1")
    ids = [[r.answer_id for r in read([w(tmp_path, results)], None).rows] for w in (written, as_json_lines)]
    assert ids[0] == ids[1] == ["9c1c09ed-f387-4bf1-a497-e6aaf8efb4fc", None]
    found = [read([written(tmp_path, results | {"evalId": run})], None).rows for run in ("a", "b")]
    assert found[0][0].answer_id == found[1][0].answer_id == ids[0][0]
    assert found[0][1].answer_id == "a 1" and found[1][1].answer_id == "b 1"


def test_a_key_in_an_error_is_not_shown(tmp_path: Path) -> None:
    results = changed(promptfoo_results([COT], "equals"), 1, response=None, gradingResult=None)
    changed(results, 1, error="401 Incorrect API key provided: sk-abcd1234efgh5678.")
    notes = read([written(tmp_path, results)], None).notes
    assert notes[0].endswith("gave no answer (401 Incorrect API key provided: ***).")


def test_functions_of_one_file_are_prompts_of_their_own(tmp_path: Path) -> None:
    """promptfoo writes the file's text as the text of both; what they make of the tests shows a template."""
    results = promptfoo_results([COT, "{{question}}"], "equals")
    for i, prompt in enumerate(results["results"]["prompts"]):
        prompt |= {"raw": "def f(context): ...", "label": f"prompts.py:f{i}"}
    assert [r.prompt for r in read([written(tmp_path, results)], None).rows] == [COT, "{{question}}"] * 2
    for i, row in enumerate(results["results"]["results"]):
        row["prompt"]["raw"] = f"made up {i}"
    rows = read([written(tmp_path, results)], None).rows
    assert [r.prompt for r in rows] == ["prompts.py:f0", "prompts.py:f1"] * 2


def test_where_no_prompt_shows_a_variable_tests_that_differ_are_questions_that_differ(tmp_path: Path) -> None:
    results = promptfoo_results(["pain_v1"], "equals")
    for row in results["results"]["results"]:
        row["vars"] = {"question": row["vars"]["question"]}
    assert [r.question for r in read([written(tmp_path, results)], None).rows] == list(QUESTIONS)
    for i, row in enumerate(results["results"]["results"]):
        row["vars"] = {"question": "Is it in the text?", "context": f"Text {i}."}
    assert [r.question for r in read([written(tmp_path, results)], None).rows] == [
        f"question: Is it in the text?\ncontext: Text {i}." for i in range(2)
    ]
    for row in results["results"]["results"]:
        row["vars"] = {}
    with pytest.raises(InputError, match="have no variables, so no question can be told.*vars: {question"):
        read([written(tmp_path, results)], None)


def test_variables_may_hold_variables(tmp_path: Path) -> None:
    """promptfoo fills them in too, so the tests ask four questions, not two, in any of its formats."""
    said = [f"Say it in {lang}{mark}" for lang in ("French", "German") for mark in ("?", "!")]
    results = promptfoo_results([COT], "equals")
    first = results["results"]["results"][0]
    results["results"]["results"] = [
        first
        | {"vars": {"lang": said[i][10:16], "question": "Say it in {{ lang }}" + said[i][-1], "sessionId": i}}
        | {"prompt": {"raw": COT.replace("{{question}}", said[i]), "label": "short"}}
        for i in range(4)
    ]
    table = tmp_path / "table.csv"
    cells = "".join(f"{s[10:16]},Say it in {{{{lang}}}}{s[-1]},7,PASS\n" for s in said)
    table.write_text(f"lang,question,[tiny] {COT.replace(',', '')},Status\n{cells}")
    for path in (written(tmp_path, results), as_json_lines(tmp_path, results), table):
        rows = read([path], None).rows
        assert [(r.question, n) for r, n in zip(rows, repeats(rows))] == [(s, 0) for s in said]
    assert {r.prompt for r in read([as_json_lines(tmp_path, results)], None).rows} == {COT}


def test_a_label_that_hides_a_variable_makes_no_repeats_of_tests(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    rows = "".join(f"Is it so?,Text {i}.,yes,PASS,no,FAIL\n" for i in (1, 2))
    path.write_text(f"question,context,[a] {{{{question}}}},Status,[a] with text,Status\n{rows}")
    found = read([path], None).rows
    assert [(r.question, n) for r, n in zip(found, repeats(found))] == [
        (f"question: Is it so?\ncontext: Text {i}.", 0) for i in (1, 1, 2, 2)
    ]


def test_old_results_hold_prompts_rendered_and_one_verdict(tmp_path: Path) -> None:
    """Version 2: no list of prompts, no assertions; quotes are escaped as in HTML."""
    rows = [
        {
            "prompt": {"raw": f"Say it in {lang}: How&#39;s it?", "display": "Say it in {{lang}}: {{input}}"},
            "vars": {"lang": lang, "input": "How's it?"},
            "response": {"output": "?"},
            "success": lang == "German",
            "score": 0,
        }
        for lang in ("German", "French")
    ]
    found = read([written(tmp_path, {"results": {"version": 2, "results": rows, "table": {}}})], None)
    assert [(r.question, r.prompt, r.correct) for r in found.rows] == [
        ("German\nHow's it?", "Say it in {{lang}}: {{input}}", 1.0),
        ("French\nHow's it?", "Say it in {{lang}}: {{input}}", 0.0),
    ]
    assert "success says whether all assertions hold, latency and cost among them." in found.notes


def refused(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read([path], None)
    return str(error.value)


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    assert "no results.results" in refused(tmp_path, "a.json", "{}")
    assert "no result in it" in refused(
        tmp_path, "a.json", json.dumps({"results": {"prompts": [{"raw": "a"}]}})
    )
    assert "a.jsonl:1: no vars" in refused(tmp_path, "a.jsonl", "{}\n")
    assert "no column [provider] prompt" in refused(tmp_path, "a.csv", "question,answer\na,b\n")
    assert "must end in .json, .jsonl, .csv; write the same run as .json" in refused(tmp_path, "a.yaml", "")
    odd = promptfoo_results([COT], "equals")
    odd["results"]["results"][1]["promptIdx"] = 5
    assert "result 1 has no promptIdx" in refused(tmp_path, "a.json", json.dumps(odd))
    odd = promptfoo_results([COT], "equals")
    odd["results"]["results"][0]["gradingResult"]["componentResults"][0]["score"] = 20
    assert "result 0: the verdict equals is 20, expected" in refused(tmp_path, "a.json", json.dumps(odd))
    with pytest.raises(InputError, match="no .*json .*in it"):
        (tmp_path / "empty").mkdir()
        read([tmp_path / "empty"], None)
