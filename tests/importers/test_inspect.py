import json
import zipfile
from zlib import crc32

import pytest
from tool_files import (
    ANN,
    BOX,
    SAMPLES,
    STEPS,
    TEMPLATE_STEPS,
    chat,
    inspect_log,
    inspect_sample,
    pack_eval,
    unnamed,
    write,
)

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.inspect import read
from prompt_oirl.io.files import InputError

TEMPLATE = f"Be brief.\n\n{STEPS}\n\n{{question}}"


def test_a_sample_becomes_question_and_template(tmp_path):
    log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(ANN, "I", epoch=2)], TEMPLATE_STEPS)
    found = read([write(tmp_path / "log.json", log)], None)
    first = ImportedRow(
        question=ANN,
        prompt=TEMPLATE,
        correct=1.0,
        answer="7",
        llm="openai/m",
        sample=0,
        group="sums:Ann",
        tokens_in=30,
        tokens_out=2,
        gold="7",
    )
    assert unnamed(found.rows)[0] == first
    assert [row.verdict for row in found.rows] == ["match", "match"]
    assert (found.rows[1].correct, found.rows[1].sample) == (0.0, 1)
    assert found.notes == ["correct is the verdict match."]


def test_eval_and_json_read_alike(tmp_path):
    log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(BOX, "P")], TEMPLATE_STEPS)
    packed = read([pack_eval(tmp_path / "log.eval", log)], None)
    assert packed == read([write(tmp_path / "log.json", log)], None)
    assert [row.correct for row in packed.rows] == [1.0, 0.5]


def test_a_template_with_values_of_the_sample_is_one_prompt(tmp_path):
    steps = [{"solver": "prompt_template", "params": {"template": "A {kind} sum: {prompt}"}}]
    samples = [
        inspect_sample(q, "C", messages=[{"role": "user", "content": f"A {kind} sum: {q}"}])
        for q, kind in ((ANN, "fruit"), (BOX, "egg"))
    ]
    found = read([write(tmp_path / "log.json", inspect_log(samples, steps))], None)
    assert {row.prompt for row in found.rows} == {"A {kind} sum: {question}"}
    assert [row.question for row in found.rows] == [ANN, BOX]


def test_texts_in_attachments_are_put_back(tmp_path):
    sample = inspect_sample("attachment://k1", "C", messages=[{"role": "user", "content": "attachment://k1"}])
    sample["attachments"] = {"k1": ANN}
    assert read([write(tmp_path / "log.json", inspect_log([sample], []))], None).rows[0].question == ANN


def test_a_question_asked_bare_has_an_empty_prompt(tmp_path):
    bare = inspect_sample(ANN, "I", messages=[{"role": "user", "content": ANN}])
    a = write(tmp_path / "a.json", inspect_log([bare], []))
    assert read([a], None).rows[0].prompt is None  # the input may hold a template
    b = write(tmp_path / "b.json", inspect_log([inspect_sample(ANN, "C")], TEMPLATE_STEPS))
    assert [row.prompt for row in read([a, b], None).rows] == ["", TEMPLATE]


def test_several_scorers_must_be_chosen_from(tmp_path):
    scores = {"match": {"value": "C"}, "judge": {"value": {"style": 0.25, "facts": True}}}
    path = write(tmp_path / "log.json", inspect_log([inspect_sample(ANN, "C", scores=scores)], []))
    with pytest.raises(
        InputError, match=r"several verdicts: match, judge/style, judge/facts; .*--verdict NAME"
    ):
        read([path], None)
    with pytest.raises(InputError, match=r"no verdict taste \(there are: match, "):
        read([path], "taste")
    assert read([path], "judge/style").rows[0].correct == 0.25
    assert read([path], "judge/facts").rows[0].correct == 1.0


def test_failed_samples_are_left_out_and_said(tmp_path):
    failed = inspect_sample(BOX, None, output={"choices": [], "completion": ""}, error={"message": "boom"})
    log = inspect_log([inspect_sample(ANN, "C"), failed], TEMPLATE_STEPS, status="error")
    found = read([write(tmp_path / "log.json", log)], None)
    assert [row.question for row in found.rows] == [ANN]
    assert found.notes[1:] == [
        "Left out: 1 sample that failed, or whose input is no text.",
        "Not finished: log.json; what there is was read.",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eval": 3}, r"log\.json: no log of inspect_ai \(`eval` is missing\); give logs"),
        ({"samples": []}, r"log\.json: the log was written without samples; run it again without"),
        ({"samples": [inspect_sample(ANN, 40)]}, r"log\.json, sample 1: the verdict match is 40, expected"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, change, message):
    path = write(tmp_path / "log.json", inspect_log([inspect_sample(ANN, "C")], []) | change)
    with pytest.raises(InputError, match=message):
        read([path], None)


def test_a_broken_archive_is_refused(tmp_path):
    path = pack_eval(tmp_path / "log.eval", inspect_log([inspect_sample(ANN, "C")], []))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"log\.eval: not a whole \.eval file"):
        read([path], None)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = pack_eval(tmp_path / "log.eval", inspect_log([inspect_sample(ANN, "C")], []))
    monkeypatch.setattr("prompt_oirl.importers.eval_files.LARGEST_UNPACKED", 300)
    with pytest.raises(InputError, match=r"log\.eval: samples/Ann_epoch_1\.json unpacks to more than 300 b"):
        read([path], None)


def as_zstd(path, compress):
    """The archive's members stored, packed by `compress` beforehand, with the headers of zip method 93."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, compress(data))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        start = archive.start_dir
    for info in infos:
        unpacked = members[info.filename]
        entry = data.index(b"PK\x01\x02", start)
        start = entry + 4
        data[entry + 10 : entry + 12] = (93).to_bytes(2, "little")
        data[entry + 16 : entry + 20] = crc32(unpacked).to_bytes(4, "little")
        data[entry + 24 : entry + 28] = len(unpacked).to_bytes(4, "little")
    path.write_bytes(data)


def test_zstd_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    path = pack_eval(tmp_path / "log.eval", inspect_log([inspect_sample(ANN, "C")], []))
    as_zstd(path, bytes)
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(InputError, match=r"packed with zstd: pip install 'prompt-oirl\[import\]'"):
        read([path], None)


def test_zstd_reads_as_deflate(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(BOX, "I")], TEMPLATE_STEPS)
    path = pack_eval(tmp_path / "log.eval", log)
    expected = read([path], None)
    as_zstd(path, zstandard.ZstdCompressor().compress)
    assert read([path], None) == expected
    data = path.read_bytes()
    path.write_bytes(data.replace(data[60:64], b"\0\0\0\0", 1))
    with pytest.raises(InputError, match=r"log\.eval: not a whole \.eval file"):
        read([path], None)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
@pytest.mark.parametrize(
    ("name", "verdicts", "llm"),
    [
        ("log_formats.eval", [0.0], "ollama/llama3.1"),
        ("log_formats.json", [0.0], "ollama/llama3.1"),
        (
            "2025-02-11T15-17-00-05-00_popularity_dPiJifoWeEQBrfWsAopzWr.eval",
            [None] * 10,
            "openai/gpt-4o-mini",
        ),
        ("2025-05-12T20-28-13-04-00_popularity.json", [1.0, 1.0, 0.0], "openai/gpt-4o-mini"),
        ("2025-05-12T20-28-26-04-00_security-guide.json", [1.0, 1.0, 1.0], "openai/gpt-4o-mini"),
        ("mmlu-no-summary-choices.eval", [0.0], "openai/gpt-4o"),
    ],
)
def test_sample_files(name, verdicts, llm):
    found = read([SAMPLES / "inspect" / name], None)
    assert [row.correct for row in found.rows] == verdicts
    assert {row.llm for row in found.rows} == {llm}
    assert len({row.prompt for row in found.rows}) == 1  # rendered prompts would make one a question
    assert len({row.question for row in found.rows}) == len(found.rows)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs ../shared/samples")
def test_choices_belong_to_the_question():
    row = read([SAMPLES / "inspect" / "mmlu-no-summary-choices.eval"], None).rows[0]
    assert row.question.endswith("closest to\n\nA) 6.0 e\nB) 6.8 eV\nC) 12.2 eV\nD) 13.6 eV")
    assert row.prompt == (
        "Answer the following multiple choice question. The entire content of your response should be of the "
        "following format: 'ANSWER: $LETTER' (without quotes) where LETTER is one of {letters}.\n\n{question}"
    )
    assert (row.answer, row.gold, row.tokens_in, row.tokens_out) == ("ANSWER: C", "A", 153, 3)
    assert json.dumps(row.group) == '"cais/mmlu:1"'


@pytest.mark.parametrize(("names", "doubled"), [((None, None, None), 4), (("u1", "u2", "u3"), 3)])
def test_a_run_that_was_retried_or_converted_counts_once(tmp_path, names, doubled):
    first = inspect_sample(ANN, "C", uuid=names[0])
    failed = inspect_sample(BOX, "I", error={"message": "?"}, output={}, uuid=names[1])
    log = inspect_log([first, failed], [])
    log["eval"]["task_id"] = "t1"
    again = log | {"samples": [first, inspect_sample(BOX, "I", uuid=names[2])]}
    files = [write(tmp_path / "a.json", log), pack_eval(tmp_path / "b.eval", again)]
    found = read([*files, write(tmp_path / "c.json", again)], None)
    assert [(row.question, row.correct) for row in found.rows] == [(ANN, 1.0), (BOX, 0.0)]
    assert f"Counted once: {doubled} samples found in several of these logs." in found.notes


def test_an_answer_without_a_verdict_is_told(tmp_path):
    log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(BOX, "I", scores=None)], [])
    found = read([write(tmp_path / "log.json", log)], None)
    assert [row.correct for row in found.rows] == [1.0, None]
    assert "1 of 2 answers have no verdict of their own." in found.notes


def test_choices_that_were_shuffled_and_inputs_that_were_stripped(tmp_path):
    shown = f"Choose one of A,B.\n\n{ANN}\n\nA) 8\nB) 7\n\nNow B."
    messages = [{"role": "user", "content": shown}]
    sample = inspect_sample(f"{ANN}\n", "C", choices=["7", "8"], messages=messages)
    row = read([write(tmp_path / "log.json", inspect_log([sample], []))], None).rows[0]
    assert row.question == f"{ANN}\n\nA) 8\nB) 7"
    assert row.prompt == "Choose one of {letters}.\n\n{question}\n\nNow B."


def test_a_message_written_anew_keeps_the_system_message(tmp_path):
    sample = inspect_sample(ANN, "C", messages=chat("Translated.", "Be brief."))
    row = read([write(tmp_path / "log.json", inspect_log([sample], []))], None).rows[0]
    assert (row.question, row.prompt) == (ANN, "Be brief.")


def scored(value, at, name="match", **more):
    """A sample with one score, and the event that says when it was given."""
    events = [{"event": "score", "timestamp": at}, {"event": "state", "timestamp": "2027-01-01T00:00:00Z"}]
    return inspect_sample(ANN, value, uuid="u1", scores={name: {"value": value}}, events=events, **more)


EARLY, LATE = "2026-03-01T12:00:00+02:00", "2026-03-01T10:30:00Z"  # in text they sort the other way


def test_a_log_scored_again_counts_wherever_it_sorts(tmp_path):
    unscored = scored(None, EARLY) | {"scores": None, "completed_at": "2026-03-01T11:00:00Z"}
    write(tmp_path / "log.json", inspect_log([unscored], []))
    write(tmp_path / "log-scored.json", inspect_log([scored("C", LATE)], []))
    found = read([tmp_path], None)
    assert [(row.correct, row.answer_id, row.verdict) for row in found.rows] == [(1.0, "u1", "match")]
    assert found.notes[1:] == ["Counted once: 1 sample found in several of these logs."]


def test_of_different_verdicts_the_last_one_counts_and_is_told(tmp_path):
    old = write(tmp_path / "b.json", inspect_log([scored("I", EARLY)], []))
    new = write(tmp_path / "a.json", inspect_log([scored("C", LATE)], []))
    for files in ([old, new], [new, old]):
        found = read(files, None)
        assert [row.correct for row in found.rows] == [1.0]
        assert "Their verdicts differ in 1 sample: the last one counts." in found.notes


def test_the_sample_with_the_verdict_asked_for_counts(tmp_path):
    asked = write(tmp_path / "a.json", inspect_log([scored("C", EARLY)], []))
    other = write(tmp_path / "b.json", inspect_log([scored("I", LATE, "includes")], []))
    assert [row.correct for row in read([asked, other], "match").rows] == [1.0]


def test_early_logs_name_an_answer_by_task_sample_and_epoch(tmp_path):
    log = inspect_log([inspect_sample(ANN, "C"), inspect_sample(ANN, "C", epoch=2)], [])
    assert {row.answer_id for row in read([write(tmp_path / "a.json", log)], None).rows} == {None}
    log["eval"]["task_id"] = "t1"
    found = read([write(tmp_path / "a.json", log)], None).rows
    assert [row.answer_id for row in found] == ["t1:Ann:1", "t1:Ann:2"]


def test_an_archive_of_many_small_samples_is_limited_too(tmp_path, monkeypatch):
    samples = [inspect_sample(ANN, "C", epoch=i) | {"input": "q " * 5000} for i in range(9)]
    path = pack_eval(tmp_path / "log.eval", inspect_log(samples, []))
    monkeypatch.setattr("prompt_oirl.importers.eval_files.LARGEST_UNPACKED", 50_000)
    assert len(read([path], None).rows) == 9  # no more than a file of its size may hold
    monkeypatch.setattr("prompt_oirl.importers.eval_files._PACKED_TO", 1)
    with pytest.raises(InputError, match=r"log\.eval: unpacks to more than 50,000 bytes; turn it into JSON"):
        read([path], None)


def test_more_values_than_fit_in_memory_are_refused(tmp_path, monkeypatch):
    path = pack_eval(
        tmp_path / "log.eval", inspect_log([inspect_sample(ANN, "C") | {"events": [[]] * 90}], [])
    )
    monkeypatch.setattr("prompt_oirl.importers.eval_files._MOST_VALUES", 150)
    with pytest.raises(
        InputError, match=r"samples/Ann_epoch_1\.json holds more than 150 values; turn it into"
    ):
        read([path], None)


def test_names_inside_an_archive_are_shown_on_one_line(tmp_path):
    sample = inspect_sample(ANN, "perhaps") | {"id": "a\n\x1b[31m"}
    with pytest.raises(InputError) as refused:
        read([pack_eval(tmp_path / "log.eval", inspect_log([sample], []))], None)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ({"content": ""}, ""),
        ({"content": [{"type": "reasoning", "reasoning": "Hm."}]}, ""),
        ({"content": [], "tool_calls": [{"id": "c"}]}, None),
    ],
)
def test_a_sample_that_was_answered_with_nothing(tmp_path, message, answer):
    output = {"choices": [{"message": {"role": "assistant"} | message, "stop_reason": "max_tokens"}]}
    log = inspect_log([inspect_sample(ANN, "I", output=output)], [])
    row = read([write(tmp_path / "log.json", log)], None).rows[0]
    assert (row.answer, row.correct) == (answer, 0.0)
