"""lm-eval's samples as a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tool_files import QUESTIONS, TIME, repeats, sample_folder, write_lm_eval

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
    assert {(r.correct, r.answer, r.llm) for r in found.rows} == {(0.0, "lol", "i82qcls7")}
    assert repeats(found.rows) == [0] * 6
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
    assert [r.correct for r in rows] == [1.0, 0.0] * 2 and repeats(rows) == [0] * 4
    write_lm_eval(tmp_path / "b", {"cot": COT})
    assert sorted(repeats(read([tmp_path], None).rows)) == [0] * 4 + [1] * 2


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


def results_changed(folder: Path, name: str = f"results_{TIME}.json", **fields: Any) -> None:
    """Set fields of a run's results; `configs` is set in each task's."""
    path = folder / f"results_{TIME}.json"
    results = json.loads(path.read_text()) | {k: v for k, v in fields.items() if k != "configs"}
    for config in results["configs"].values():
        config |= fields.get("configs", {})
    path.unlink()
    (folder / name).write_text(json.dumps(results))


def test_a_metric_beyond_1_is_no_verdict_though_some_of_its_values_are_small(tmp_path: Path) -> None:
    write_lm_eval(tmp_path, {"cot": COT})
    path = tmp_path / f"samples_cot_{TIME}.jsonl"
    lines = [
        json.loads(line) | {"bleu": 0.5 + 40 * i} for i, line in enumerate(path.read_text().splitlines())
    ]
    path.write_text("".join(json.dumps(line | {"metrics": ["bleu", "acc"]}) + "\n" for line in lines))
    assert [r.correct for r in read([tmp_path], None).rows] == [1.0, 0.0]
    with pytest.raises(InputError, match="there is no verdict bleu .there are: acc,none"):
        read([tmp_path], "bleu")


def test_files_of_versions_before_0_4_3(tmp_path: Path) -> None:
    """An array, named after the model's arguments; no filters named, but a line for each in their order."""
    write_lm_eval(tmp_path, {"cot": COT, "my_cot": "{{question}}"})
    filters = {"filter_list": [{"name": "strict"}, {"name": "loose"}]}
    config = {"model": "hf", "model_args": "pretrained=me/tiny,peft=me/more"}
    results_changed(tmp_path, "results.json", configs=filters, model_name=None, config=config)
    for task in ("cot", "my_cot"):
        path = tmp_path / f"samples_{task}_{TIME}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            for name in ("filter", "metrics", "doc_hash"):
                del line[name]
            line["arguments"] = [[line["arguments"]["gen_args_0"]["arg_0"], {}]]
        loose = [line | {"acc": 1 - line["acc"]} for line in lines]
        path.unlink()
        (tmp_path / f"pretrained__me__tiny_{task}.jsonl").write_text(json.dumps(lines + loose, indent=2))
    with pytest.raises(InputError, match="several verdicts: acc,strict, acc,loose; choose one"):
        read([tmp_path], None)
    rows = read([tmp_path], "loose").rows
    assert [(r.question, r.prompt, r.correct) for r in rows] == [
        (question, prompt, correct)
        for prompt in (COT, "{{question}}")
        for question, correct in zip(QUESTIONS, (0.0, 1.0))
    ]
    assert {(r.llm, n, r.prompt_id) for r, n in zip(rows, repeats(rows))} == {
        ("me/tiny,peft=me/more", 0, "cot"),
        ("me/tiny,peft=me/more", 0, "my_cot"),
    }


def test_an_output_path_that_names_a_file(tmp_path: Path) -> None:
    """--output_path out.json writes out_TIME.json."""
    write_lm_eval(tmp_path, {"cot": COT})
    results_changed(tmp_path, f"out_{TIME}.json")
    assert [r.prompt for r in read([tmp_path], None).rows] == [COT, COT]


def test_models_that_differ_in_their_arguments_are_no_repeats(tmp_path: Path) -> None:
    for revision in ("step1", "step2"):
        write_lm_eval(tmp_path / revision, {"cot": COT})
        arguments = {"pretrained": "tiny", "revision": revision, "dtype": "float16"}
        results_changed(tmp_path / revision, config={"model_args": arguments})
    rows = read([tmp_path], None).rows
    assert list(zip([r.llm for r in rows], repeats(rows))) == [
        (f"tiny,dtype=float16,revision={revision}", 0) for revision in ("step1", "step2") for _ in QUESTIONS
    ]


@pytest.mark.parametrize(
    ("config", "llm"),
    [
        (
            {"model_args": "pretrained=me/tiny,load_in_4bit=True,device=cuda:1,dtype=auto"},
            "tiny,load_in_4bit=True",
        ),
        ({"model_args": {"load_in_4bit": True, "api_key": "secret123"}}, "tiny,load_in_4bit=True"),
        ({"model_args": "", "gen_kwargs": {"temperature": 0.8}}, "tiny,temperature=0.8"),
        ({"model_args": {}, "gen_kwargs": "temperature=0.8,do_sample=None"}, "tiny,temperature=0.8"),
        (
            {"model_args": "base_url=http://x/v1,num_concurrent=8,seed=3,max_length=512"},
            "tiny,max_length=512",
        ),
    ],
)
def test_a_model_that_runs_with_other_settings_is_another_one(tmp_path: Path, config: Any, llm: str) -> None:
    write_lm_eval(tmp_path, {"cot": COT})
    results_changed(tmp_path, config=config)
    assert {r.llm for r in read([tmp_path], None).rows} == {llm}


def test_a_metric_of_which_less_is_better_is_no_verdict(tmp_path: Path) -> None:
    write_lm_eval(tmp_path, {"cot": COT}, metrics=["acc", "brier"], brier=0.9)
    results_changed(tmp_path, higher_is_better={"cot": {"acc": True, "brier": False}})
    assert [r.correct for r in read([tmp_path], None).rows] == [1.0, 0.0]
    assert {r.verdict for r in read([tmp_path], None).rows} == {"acc,none"}
    for asked in ("brier", "brier,none"):
        with pytest.raises(InputError, match=f"{asked}: less of this metric is better.*there are: acc,none"):
            read([tmp_path], asked)
    results_changed(
        tmp_path,
        higher_is_better=None,
        configs={"metric_list": [{"metric": name, "higher_is_better": False} for name in ("acc", "brier")]},
    )
    found = read([tmp_path], None)
    assert {(r.correct, r.verdict) for r in found.rows} == {(None, None)}
    assert found.notes[-1] == "Less is better of acc, brier: no verdict."


def test_tasks_with_other_examples_are_other_prompts(tmp_path: Path) -> None:
    examples: list[dict[str, Any]] = [
        {"configs": {"fewshot_config": {"samples": [{"question": "1 + 1"}]}}},
        {"configs": {"fewshot_config": {"samples": [{"question": "2 + 2"}]}}},
        {"configs": {"fewshot_config": {"samples": "<function a at 0x7f1>"}}},
        {"configs": {"fewshot_config": {"samples": "<function a at 0x7f2>", "sampler": "default"}}},
        {"configs": {"fewshot_split": "dev"}},
        {"configs": {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}}},
        {"configs": {"fewshot_split": "dev"}, "config": {"fewshot_seed": 7}},
        {"configs": {"fewshot_split": "dev"}, "config": {"fewshot_seed": 1234}},
        {"configs": {"fewshot_split": "dev", "doc_to_target": "{{steps}}"}},
    ]
    for i, fields in enumerate(examples):
        write_lm_eval(tmp_path / str(i), {"cot": COT})
        results_changed(tmp_path / str(i), **fields, **{"n-shot": {"cot": 2}})
    prompts = [row.prompt for row in read([tmp_path], None).rows][:: len(QUESTIONS)]
    same = [[j for j, p in enumerate(prompts) if p == prompt] for prompt in dict.fromkeys(prompts)]
    assert same == [[0], [1], [2, 3], [4, 7], [5], [6], [8]]
    assert all(prompt and prompt.startswith("[2 examples #") for prompt in prompts)
    for i in range(len(examples)):  # without examples nothing of this counts
        results_changed(tmp_path / str(i), **{"n-shot": {"cot": 0}})
    assert {row.prompt for row in read([tmp_path], None).rows} == {COT}


def test_an_answer_is_the_same_in_any_copy_of_its_file(tmp_path: Path) -> None:
    """By the time of its run, in the results or in the file's name; a later run gives answers of its own."""
    write_lm_eval(tmp_path / "a", {"cot": COT})
    write_lm_eval(tmp_path / "copy", {"cot": COT})
    write_lm_eval(tmp_path / "later", {"cot": COT})
    later = TIME.replace("2026", "2027")
    for path in (tmp_path / "later").iterdir():
        path.rename(path.with_name(path.name.replace(TIME, later)))
    first, copy, other = (
        [r.answer_id for r in read([tmp_path / f], None).rows] for f in ("a", "copy", "later")
    )
    assert first == copy and len({*first, *other}) == 2 * len(QUESTIONS) and None not in first
    for folder in ("a", "later"):
        path = next((tmp_path / folder).glob("results_*"))
        path.write_text(json.dumps(json.loads(path.read_text()) | {"date": 1795888755.5}))
    first, other = ([r.answer_id for r in read([tmp_path / f], None).rows] for f in ("a", "later"))
    assert first == other != copy


def test_chat_templates_and_examples_are_part_of_the_prompt(tmp_path: Path) -> None:
    write_lm_eval(tmp_path, {"cot": "question"})
    results_changed(
        tmp_path, chat_template="{{ messages }}", fewshot_as_multiturn=True, **{"n-shot": {"cot": 2}}
    )
    assert {r.prompt for r in read([tmp_path], None).rows} == {
        "[chat template]\n\n[2 examples as turns]\n\n{{question}}"
    }


def test_the_right_answer_in_a_condition_is_no_part_of_the_question(tmp_path: Path) -> None:
    """As in lm-eval's own mgsm and copa: other words of a template may be called like fields, too."""
    template = (
        '{% if answer is not none %}{{question+"\\nThe answer:"}}{% else %}{{"Q: "+question}}{% endif %}'
    )
    write_lm_eval(tmp_path, {"mgsm": template})
    assert [r.question for r in read([tmp_path], None).rows] == list(QUESTIONS)
    copa = '{{premise[:-1].strip() + " " + {"cause": "for the question", "effect": "so"}[question]}}'
    docs = [{"premise": f"It rains {i}.", "question": "cause", "for": "x"} for i in range(2)]
    for i, doc in enumerate(docs):
        write_lm_eval(tmp_path / str(i), {"copa": copa}, doc=doc, doc_hash=str(i))
    rows = read([tmp_path / "0", tmp_path / "1"], None).rows
    assert {r.question for r in rows} == {"It rains 0.\ncause", "It rains 1.\ncause"}


def test_a_question_is_all_that_any_of_its_tasks_shows(tmp_path: Path) -> None:
    """The closed-book task shows less, but the same document is the same question, and others are not."""
    for i in range(2):
        doc = {"passage": f"Text {i}.", "question": "Is it so?"}
        tasks = {"closed": "{{question}}", "open": "{{passage}} {{question}}"}
        write_lm_eval(tmp_path / str(i), tasks, doc=doc, doc_hash=str(i), doc_id=0)
    rows = read([tmp_path], None).rows
    assert [(r.prompt_id, r.question, n) for r, n in zip(rows, repeats(rows))] == [
        (task, f"Is it so?\nText {i}.", 0) for i in range(2) for task in ("closed", "open")
    ]


CODE = 'def doc_to_text(doc):\n    return "Q: " + doc["question"]\n'


def coded(folder: Path, texts: list[Any], shots: int) -> Path:
    """A run whose template is code, with the texts that were sent."""
    write_lm_eval(folder, {"cot": COT})
    results_changed(folder, configs={"doc_to_text": CODE}, **{"n-shot": {"cot": shots}})
    path = folder / f"samples_cot_{TIME}.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    lines = [
        line | {"doc_id": i, "doc_hash": str(i), "arguments": {"gen_args_0": {"arg_0": sent, "arg_1": {}}}}
        for i, sent in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_code_asks_what_was_sent_and_not_only_the_field_called_question(tmp_path: Path) -> None:
    """The questions differ in their choices, which only the code shows."""
    sent = [f"Which is right?\nA. {a}\nB. {b}\nAnswer:" for a, b in (("one", "two"), ("red", "blue"))]
    found = read_answers("lm-eval", [coded(tmp_path, sent, 0)], None)
    assert [r.question for r in found.rows] == ["one\nB. two", "red\nB. blue"]
    assert {r.prompt for r in found.rows} == {"Which is right?\nA. {question}\nAnswer:"}


def test_a_document_is_one_question_whether_a_template_or_code_shows_it(tmp_path: Path) -> None:
    write_lm_eval(tmp_path / "a", {"plain": PLAIN})
    write_lm_eval(tmp_path / "b", {"cot": COT})
    results_changed(tmp_path / "b", configs={"doc_to_text": CODE})
    path = tmp_path / "b" / f"samples_cot_{TIME}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, question in zip(lines, QUESTIONS):
        choices = "yes or no" if line["doc_id"] else "7 or 8"
        line["arguments"]["gen_args_0"]["arg_0"] = f"Pick. {question}\n{choices}\nAnswer:"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read_answers("lm-eval", [tmp_path], None).rows
    assert [r.question for r in rows] == list(QUESTIONS) * 2
    assert {r.prompt for r in rows} == {"", "Pick. {question}\nAnswer:"}


@pytest.mark.parametrize("as_messages", [False, True])
def test_examples_before_code_are_left_off(tmp_path: Path, as_messages: bool) -> None:
    examples = ["Q: 1 + 1\nA: 2", "Q: 2 + 2\nA: 4"], ["Q: 3 + 3\nA: 6", "Q: 1 + 1\nA: 2"]
    asked = ["Q: Who is tall?\nA:", "Q: Where are we?\nA:"]
    sent: list[Any] = ["\n\n".join([*before, question]) for before, question in zip(examples, asked)]
    if as_messages:  # as lm-eval writes them: a text in a list
        sent = [[json.dumps([{"role": "user", "content": text}])] for text in sent]
    found = read_answers("lm-eval", [coded(tmp_path, sent, 2)], None)
    assert [r.question for r in found.rows] == ["Who is tall?", "Where are we?"]
    assert {r.prompt for r in found.rows} == {"[2 examples]\n\nQ: {question}\nA:"}


def test_examples_that_cannot_be_told_from_the_question_are_refused(tmp_path: Path) -> None:
    sent = ["Q: 1\n\nQ: Who is\n\ntall?", "Q: 2\n\nQ: Where?"]
    with pytest.raises(InputError, match="cannot be told from it; import a run with --num_fewshot 0"):
        read([coded(tmp_path, sent, 1)], None)


@pytest.mark.parametrize(
    ("arguments", "resps"),
    [
        ({"gen_args_0": {"arg_0": "Who?", "arg_1": " Ann"}}, [[["-3.2", "False"]]]),
        ({"gen_args_0": {"arg_0": "Some text."}}, [["-12.5"]]),
    ],
)
def test_a_text_that_was_only_weighed_is_no_answer(tmp_path: Path, arguments: Any, resps: Any) -> None:
    write_lm_eval(tmp_path, {"cot": COT}, arguments=arguments, resps=resps)
    assert {r.answer for r in read([tmp_path], None).rows} == {None}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / f"results_{TIME}.json").unlink(), "missing .*results_2026.*give the folder"),
        (lambda f: (f / f"results_{TIME}.json").write_text("{}"), "no task cot among its configs"),
        (lambda f: (f / f"samples_cot_{TIME}.jsonl").write_text("{}\n"), r"jsonl:1: no object doc"),
        (lambda f: (f / f"samples_cot_{TIME}.jsonl").unlink(), "no samples_.*jsonl among the files"),
        (
            lambda f: (f / f"results_{TIME}.json").unlink(),
            "missing .*: put the results file of the run beside its samples, or give the folder",
        ),
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
