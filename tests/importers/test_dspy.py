import csv

import pytest
from tool_files import ANN, BOX, PROGRAM, RESULTS, SAMPLES, unnamed, write

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.dspy import read
from prompt_oirl.io.files import InputError

PROMPT = "Answer the sum.\n\nQuestion: 1+1?\nReasoning: one and one\nAnswer: 2"
ROWS = [
    ImportedRow(ANN, PROMPT, 1.0, "7", "openai/m", gold="7"),
    ImportedRow(BOX, PROMPT, 0.0, "8", "openai/m", gold="7"),
]


def program(tmp_path, **more):
    """A program whose field "Answer" is described in words, so that its name is the prefix's."""
    return write(tmp_path / "program.json", PROGRAM | more)


def test_results_get_the_prompt_of_the_program_before_them(tmp_path):
    found = read([program(tmp_path), write(tmp_path / "eval.json", RESULTS)], None)
    assert unnamed(found.rows) == ROWS
    assert {row.verdict for row in found.rows} == {"exact"}
    assert found.notes == ["correct is the verdict exact."]


def test_csv_reads_as_json(tmp_path):
    with (tmp_path / "eval.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(RESULTS[0]))
        writer.writeheader()
        writer.writerows(RESULTS)
    expected = read([program(tmp_path), write(tmp_path / "eval.json", RESULTS)], None)
    found = read([program(tmp_path), tmp_path / "eval.csv"], None)
    assert found == expected
    assert len({row.answer_id for row in found.rows}) == 2


def test_two_programs_are_two_prompts(tmp_path):
    other = {"signature": {"instructions": "Add.", "fields": PROGRAM["predict"]["signature"]["fields"]}}
    results = write(tmp_path / "eval.json", RESULTS)
    second = write(tmp_path / "second.json", {"predict": other})
    rows = read([program(tmp_path), results, second, results], None).rows
    assert [row.prompt for row in rows] == [PROMPT, PROMPT, "Add.", "Add."]
    assert len({row.answer_id for row in rows}) == 4


def test_another_evaluation_has_other_answers(tmp_path):
    first = write(tmp_path / "a.json", RESULTS)
    second = write(tmp_path / "b.json", [RESULTS[0], RESULTS[1] | {"pred_answer": "6"}])
    rows = read([program(tmp_path), first, second], None).rows
    assert len({row.answer_id for row in rows}) == 4


def test_a_folder_has_no_order(tmp_path):
    program(tmp_path)
    with pytest.raises(InputError, match="a folder; name files, each program before its results"):
        read([tmp_path], None)


def test_an_example_that_failed_is_no_wrong_answer(tmp_path):
    failed = {"question": BOX, "answer": "7", "exact": 0.0}
    found = read([program(tmp_path), write(tmp_path / "eval.json", [RESULTS[0], failed])], None)
    assert unnamed(found.rows) == ROWS[:1]
    assert found.notes[1:] == ["Left out: 1 example that failed (no prediction)."]


def test_what_a_program_adds_to_its_prediction_is_no_question(tmp_path):
    fields = [{"prefix": f"{name.title()}:", "description": ""} for name in ("context", "question", "answer")]
    path = write(tmp_path / "p.json", {"a.predict": {"signature": {"instructions": "Do.", "fields": fields}}})
    result = {"question": ANN, "example_answer": "7", "context": ["found"], "pred_answer": "7", "exact": True}
    assert read([path, write(tmp_path / "r.json", [result])], None).rows[0].question == ANN
    result = {"question": ANN, "gold": "7", "trajectory": {"thought_0": "?"}, "answer": "7", "exact": True}
    row = read([path, write(tmp_path / "r.json", [result])], None).rows[0]
    assert (row.question, row.answer) == (ANN, "7")


def test_refusals(tmp_path):
    results = write(tmp_path / "eval.json", RESULTS)
    with pytest.raises(InputError, match=r"eval\.json: no program stands before these results; give DSPy's"):
        read([results, program(tmp_path)], None)
    with pytest.raises(InputError, match=r"other\.json: no program of DSPy \(nothing with a signature\)"):
        read([write(tmp_path / "other.json", {"a": 1}), results], None)
    with pytest.raises(InputError, match=r"three\.json: neither a program nor results"):
        read([write(tmp_path / "three.json", 3)], None)
    renamed = [{"query": row["question"], "exact": True} for row in RESULTS]
    with pytest.raises(InputError, match=r"no column is an input field .*\(columns: query, exact\)"):
        read([program(tmp_path), write(tmp_path / "r.json", renamed)], None)
    graded = [row | {"exact": 80.0} for row in RESULTS]
    with pytest.raises(
        InputError, match=r"g\.json, result 1: the verdict exact is 80\.0, expected a number from"
    ):
        read([program(tmp_path), write(tmp_path / "g.json", graded)], None)
    with pytest.raises(InputError, match=r"no verdict f1 \(there are: exact\)"):
        read([program(tmp_path), results], "f1")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
@pytest.mark.parametrize("name", ["dspy_eval.json", "dspy_eval.csv"])
def test_sample_files(name):
    prompt = "Given the fields `question`, produce the fields `answer`."
    assert unnamed(read([SAMPLES / "dspy" / "prog.json", SAMPLES / "dspy" / name], None).rows) == [
        ImportedRow(ANN, prompt, 1.0, "7", gold="7"),
        ImportedRow(BOX, prompt, 0.0, "8", gold="7"),
    ]


def test_programs_of_early_versions(tmp_path):
    signature = PROGRAM["predict"]["signature"]
    before = {"predict": PROGRAM["predict"] | {"extended_signature": signature | {"instructions": "Think."}}}
    results = write(tmp_path / "eval.json", RESULTS)
    rows = read([write(tmp_path / "p25.json", before), results], None).rows
    assert rows[0].prompt is not None and rows[0].prompt.startswith("Think.")
    oldest = write(tmp_path / "p24.json", {"predict": {"signature_instructions": "Add.", "demos": []}})
    with pytest.raises(
        InputError, match=r"p24\.json: saved by a DSPy before 2\.5, without fields; load and save"
    ):
        read([oldest, results], None)
