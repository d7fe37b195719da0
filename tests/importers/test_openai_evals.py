from dataclasses import replace

import pytest
from tool_files import ANN, SAMPLES, STEPS, evals_events, unnamed, write

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.openai_evals import read
from prompt_oirl.io.files import InputError


def test_events_of_a_sample_are_joined(tmp_path):
    found = read([write(tmp_path / "log.jsonl", evals_events())], None)
    row = ImportedRow(ANN, STEPS, correct=1.0, answer="7", llm="m", gold="7")
    assert found.rows == [replace(row, answer_id="r:e.1", verdict="match")]
    assert found.notes == ["correct is the verdict match."]


def test_the_first_sampling_is_the_answer_and_later_ones_the_judges(tmp_path):
    events = evals_events()
    events[2] = {
        "run_id": "r",
        "sample_id": "e.1",
        "type": "sampling",
        "data": {"prompt": "?", "sampled": "Y"},
    }
    events.append(
        {"run_id": "r", "sample_id": "e.1", "type": "metrics", "data": {"choice": "Y", "score": 0.5}}
    )
    row = read([write(tmp_path / "log.jsonl", events)], None).rows[0]
    assert (row.answer, row.correct) == ("7", 0.5)


def test_several_verdicts_must_be_chosen_from(tmp_path):
    events = evals_events(correct=False)
    events.append({"run_id": "r", "sample_id": "e.1", "type": "metrics", "data": {"f1": 0.5}})
    path = write(tmp_path / "log.jsonl", events)
    with pytest.raises(
        InputError, match=r"log\.jsonl: several verdicts: match, f1; choose one with --verdict"
    ):
        read([path], None)
    assert read([path], "f1").rows[0].correct == 0.5
    assert read([path], "match").rows[0].correct == 0.0


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"log\.jsonl:1: no event \(spec, final_report or sample_id\); give"):
        read([write(tmp_path / "log.jsonl", [{"question": "x"}])], None)
    with pytest.raises(InputError, match=r"log\.jsonl: no sample with a sampling event"):
        read([write(tmp_path / "log.jsonl", evals_events()[:1])], None)
    (tmp_path / "log.jsonl").write_bytes(b'{"spec": {}}\n{"a')
    with pytest.raises(InputError, match=r"log\.jsonl:2: not valid JSON"):
        read([tmp_path / "log.jsonl"], None)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
def test_sample_file():
    prompt, llm = "Complete the phrase as concisely as possible.", "auto_gpt_completion_fn"
    assert unnamed(read([SAMPLES / "openai_evals"], None).rows) == [
        ImportedRow(
            "OpenAI was founded in 20", prompt, 0.0, "OpenAI was founded in 2015.2015", llm, gold="15"
        ),
        ImportedRow(
            "The first US president was ", prompt, 1.0, "George Washington", llm, gold="George Washington"
        ),
    ]


def test_two_runs_in_one_file_are_two_answers(tmp_path):
    second = [event | {"run_id": "r2"} if "run_id" in event else event for event in evals_events()]
    found = read([write(tmp_path / "log.jsonl", [*evals_events(), *second])], None)
    assert [(row.question, row.correct) for row in found.rows] == [(ANN, 1.0), (ANN, 1.0)]
    assert [row.answer_id for row in found.rows] == ["r:e.1", "r2:e.1"]
