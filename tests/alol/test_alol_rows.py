"""Rows: what is written is read again, what is broken is refused in one line; rows from an interaction
log."""

from __future__ import annotations

import json

import pytest
from alol_steps import synthetic_log, with_chat_template
from conftest import tiny_interactions

from prompt_oirl.alol.rows import FINAL, Limits, Row, encode_rows, read_rows, write_rows
from prompt_oirl.alol.tasks import arith_log, prompt_writer, toy
from prompt_oirl.data import interactions
from prompt_oirl.io.files import InputError

GOOD = {
    "id": "a",
    "prompt_or_input_text": "a b c d =",
    "references": "a b c d",
    "reward_components": {FINAL: 0.5},
    "task": "toy",
}


def test_rows_survive_writing(tmp_path):
    rows = toy.make_rows({"train": 20}, 0)["train"]
    write_rows(tmp_path / "rows.jsonl", rows, "toy")
    assert read_rows(tmp_path / "rows.jsonl", "toy", 1.0) == rows


def test_published_rows_are_read(tmp_path):
    published = {k: v for k, v in GOOD.items() if k != "task"} | {"meta_data": {"score": 3}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(published) + "\n")
    (row,) = read_rows(tmp_path / "rows.jsonl", "toy", 1.0)
    assert row == Row("a", "a b c d =", "a b c d", {FINAL: 0.5}, meta={"score": 3})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward_components": {}}, "no reward_components"),
        ({"reward_components": None}, "no reward_components"),
        ({"reward_components": {FINAL: float("nan")}}, "is nan"),
        ({"reward_components": {FINAL: "good"}}, "is 'good'"),
        ({"reward_components": {FINAL: 0.5, "fluency": None}}, "fluency is None"),
        ({"reward_components": {FINAL: 1.5}}, "outside 0..1"),
        ({"references": " "}, "the response is empty"),
        ({"references": None}, "is missing"),
        ({"prompt_or_input_text": ""}, "the prompt is empty"),
        ({"task": "comet"}, "a row of task 'comet'"),
        ({"id": None}, "is missing"),
        ({"ended": "no"}, "must be true or false"),
        ({"references": "a \ud800"}, "no valid text"),
        ({"meta_data": ["gold"]}, "meta_data must be an object"),
        ({"segment": "all"}, "segment not 'all'"),
        ({"segment": "a\x1b[2J"}, "holds a control character"),
        ({"id": "a\nb"}, "holds a control character"),
        ({"meta_data": {"other": 1}}, "meta_data without gold"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path, change, said):
    path = tmp_path / "rows.jsonl"
    good = GOOD | {"meta_data": {"gold": "7"}}
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"id": "b"} | change) + "\n")
    with pytest.raises(InputError, match=said) as error:
        read_rows(path, "toy", 1.0, needs=["gold"])
    assert f"{path}:2: " in str(error.value) and "\n" not in str(error.value)


def test_doubled_ids_and_empty_files_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 2)
    with pytest.raises(InputError, match="stands twice"):
        read_rows(path, "toy", 1.0)
    path.write_text("")
    with pytest.raises(InputError, match="no rows"):
        read_rows(path, "toy", 1.0)


def test_responses_beyond_the_limit_are_refused_or_cut():
    _, tokenizer = toy.make_model(0)
    rows = [Row("a", "a b c d =", "a b c d", {FINAL: 1.0})]
    end = tokenizer.eos_token_id
    (whole,) = encode_rows(rows, tokenizer, Limits(8, 5))
    assert len(whole.prompt) == 5 and len(whole.response) == 5 and whole.response[-1] == end
    with pytest.raises(InputError, match="row a: a response of 5 tokens.*--max_response_length 5"):
        encode_rows(rows, tokenizer, Limits(8, 4))
    (cut,) = encode_rows(rows, tokenizer, Limits(3, 4, "cut"))
    assert cut.response == whole.response[:4] and cut.prompt == whole.prompt[-3:]
    unfinished = Row("b", "a b c d =", "a b", {FINAL: 0.0}, ended=False)
    assert end not in encode_rows([unfinished], tokenizer, Limits(8, 5))[0].response


@pytest.mark.parametrize("name", ["arith.parquet", "arith.jsonl"])
def test_rows_of_a_log(tmp_path, name):
    log = synthetic_log(tmp_path / name)
    splits = arith_log.make_rows(log, with_chat_template(toy.make_model(0)[1]), {"validation": 5}, seed=0)
    logged = {(r.split, r.question_id, r.prompt_id): r for r in interactions.read(log, hint="")}
    assert len(splits["train"]) == sum(r.split == "train" for r in logged.values())
    assert len(splits["validation"]) == 5
    asked = {row.meta["prompt_id"] for row in splits["train"]}
    for split, rows in splits.items():
        for row in rows:
            source = logged[split, row.meta["question_id"], row.meta["prompt_id"]]
            assert row.prompt == f"{source.question}\n{source.prompt}\n" and row.response == source.answer
            assert row.ended == (source.finish_reason == "stop") and row.group == source.group
            assert row.reward == float(row.response != "The answer is 100000.")
            assert row.meta["prompt_id"] in asked
    assert arith_log.rewards(
        splits["train"][:1], [f"So the answer is {splits['train'][0].meta['gold']}."]
    ) == [{FINAL: 1.0}]


def test_all_answers_under_one_prompt(tmp_path):
    """Every answer to a question responds to the same text; rewards stay, for they don't depend on the
    prompt."""
    log = synthetic_log(tmp_path / "arith.parquet")
    own = arith_log.make_rows(log, with_chat_template(toy.make_model(0)[1]), {}, seed=0)
    name = own["train"][0].meta["prompt_id"]
    one = arith_log.make_rows(
        log, with_chat_template(toy.make_model(0)[1]), {"train": 3}, seed=0, prompt=name
    )
    rewards = {row.id: row.reward for row in own["train"]}
    texts = {row.meta["question_id"]: row.prompt for row in own["train"] if row.meta["prompt_id"] == name}
    assert len({row.meta["question_id"] for row in one["train"]}) == 3
    assert len({row.meta["prompt_id"] for row in one["train"]}) > 1
    for row in one["train"]:
        assert row.prompt == texts[row.meta["question_id"]] and row.reward == rewards[row.id]
    for split in ("validation", "test"):
        assert {row.meta["prompt_id"] for row in one[split]} == {name}
    with pytest.raises(InputError, match="--prompt nobody: not asked"):
        arith_log.make_rows(log, with_chat_template(toy.make_model(0)[1]), {}, seed=0, prompt="nobody")


def test_logs_that_arith_or_the_writer_cannot_learn_from_name_their_row(tmp_path):
    log = synthetic_log(tmp_path / "arith.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for change, read, said in (
        (
            {"gold": "B"},
            lambda: arith_log.make_rows(log, with_chat_template(toy.make_model(0)[1]), {}, 0),
            ":2: the gold answer 'B' holds no number",
        ),
        ({"question": "\ud800"}, lambda: prompt_writer.read_log(log, 0), ":2: half of a surrogate pair"),
    ):
        log.write_text("".join(json.dumps(r | (change if i == 1 else {})) + "\n" for i, r in enumerate(rows)))
        with pytest.raises(InputError, match=said):
            read()


def test_a_log_without_validation_is_refused(tmp_path):
    interactions.write(tmp_path / "log.jsonl", tiny_interactions(n_train=4, n_test=4))
    with pytest.raises(InputError, match="no answered validation questions"):
        arith_log.make_rows(tmp_path / "log.jsonl", with_chat_template(toy.make_model(0)[1]), {}, 0)
