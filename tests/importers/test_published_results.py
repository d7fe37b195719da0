"""Published results become logs: golden rows of excerpts made up here, wrong files, and the real files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers import published_results
from prompt_oirl.importers.published_results import (
    BBH_ENDING,
    LOGS,
    RE2_CSQA,
    RE2_GSM8K,
    bbh_codex,
    openai_gsm8k,
    re2,
    tot_game24,
    write_logs,
)
from prompt_oirl.io.files import REPO_ROOT, InputError

MIRROR = Path(os.environ.get("PROMPT_OIRL_MIRROR") or REPO_ROOT.parent / "shared" / "mirror")
REFERENCE = MIRROR.parent / "logs"  # the same logs as others made them

TOT = "tree-of-thought-llm"
BBH = "BIG-Bench-Hard/code-davinci-002-outputs/code-davinci-002"
SOLUTIONS = "grade-school-math/grade_school_math/data/example_model_solutions.jsonl"


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def put_re2(folder: Path, runs: tuple[tuple[str, str, str], ...], *rows: object) -> None:
    for _, *names in runs:
        for name in names:
            put(folder, f"Rereading-LLM-Reasoning/results/{name}.jsonl", lines(*rows))


def re2_row(vanilla: Any, vanilla_score: int, cot: Any, cot_score: int, **question: Any) -> dict[str, Any]:
    return {
        **question,
        "vanilla": {"generation": ["..."], "answer": vanilla, "score": vanilla_score},
        "cot": {"generation": None, "answer": cot, "score": cot_score},
    }


NUMBER = re2_row(12.0, 0, "7", 1, input="How many dozens?", target=7)
STEM = {"stem": "Where is it?", "choices": [{"label": "A", "text": "here"}, {"label": "B", "text": "there"}]}
CHOICE = re2_row(None, 0, "B", 1, question=STEM, answerKey="B")


def put_bbh(folder: Path, task: str, direct: list[dict[str, str]], cot: list[dict[str, str]]) -> None:
    for way, rows in (("direct", direct), ("cot", cot)):
        put(folder, f"{BBH}-{way}/{task}{BBH_ENDING}", json.dumps({"canary": "", "outputs": rows}))


def bbh_row(prediction: str, opening: str = "") -> dict[str, str]:
    examples = f"Sort the words.\n\nQ: b a\nA: {opening}a b\n\nQ: c b a\nA: {opening}a b c"
    return {
        "input": f"{examples}\n\nQ: Sort:\n\nlemon apple\nA: {opening}".rstrip(" "),
        "prediction": prediction,
        "target": "apple lemon",
    }


STEPS = "Let's think step by step."


def put_tot(folder: Path, standard: object, cot: object) -> None:
    put(folder, f"{TOT}/src/tot/data/24/24.csv", "Rank,Puzzles\n1,1 1 4 6\n2,4 5 6 10\n")
    for way, rows in (("standard", standard), ("cot", cot)):
        name = f"gpt-4_0.7_naive_{way}_sample_100_start900_end1000.json"
        put(folder, f"{TOT}/logs/game24/{name}", json.dumps(rows))


def put_all(folder: Path) -> None:
    put_re2(folder, RE2_GSM8K, NUMBER)
    put_re2(folder, RE2_CSQA, CHOICE)
    solution = {"is_correct": True, "solution": "A: 3"}
    put(
        folder, SOLUTIONS, lines({"question": "q", **dict.fromkeys(published_results.GSM8K_MODELS, solution)})
    )
    put_bbh(folder, "word_sorting", [bbh_row("apple lemon")], [bbh_row("So the answer is x.", STEPS)])
    put_tot(folder, [{"idx": 0, "ys": ["a"], "accs": [True]}], [{"idx": 1, "ys": ["a"], "infos": [{"r": 0}]}])


# --- golden rows ----------------------------------------------------------------------------------------


def test_re2_rows_of_numbers(tmp_path: Path) -> None:
    put_re2(tmp_path, RE2_GSM8K, NUMBER)
    rows = list(re2(tmp_path, RE2_GSM8K))
    assert rows[:4] == [
        {
            "question": "How many dozens?",
            "prompt": prompt,
            "correct": correct,
            "answer": answer,
            "llm": "text-davinci-003",
        }
        for prompt, correct, answer in (
            ("Answer the question.", 0, "12.0"),
            ("Let's think step by step.", 1, "7"),
            ("Read the question again. Answer the question.", 0, "12.0"),
            ("Read the question again. Let's think step by step.", 1, "7"),
        )
    ]
    assert [row["llm"] for row in rows[::4]] == ["text-davinci-003", "gpt-3.5-turbo", "gpt-4o-mini"]


def test_re2_rows_of_choices_and_of_no_answer(tmp_path: Path) -> None:
    put_re2(tmp_path, RE2_CSQA, CHOICE)
    first, second, *_ = re2(tmp_path, RE2_CSQA)
    assert first["question"] == second["question"] == "Where is it?\n(A) here\n(B) there"
    assert (first["correct"], first["answer"]) == (0, None)
    assert (second["correct"], second["answer"]) == (1, "B")


def test_openai_rows_and_a_solution_that_breaks_off(tmp_path: Path) -> None:
    said = ("2 + 3 = 5\nA: 5", "A: 4 is the sum\nA: 4 ", "2.3333333", "5\nA: 5")
    verdicts = zip(published_results.GSM8K_MODELS, said, (True, False, False, True))
    found = {name: {"solution": text, "is_correct": right} for name, text, right in verdicts}
    put(tmp_path, SOLUTIONS, lines({"question": "2 + 3?", "ground_truth": "A: 5", **found}))
    assert list(openai_gsm8k(tmp_path)) == [
        {"question": "2 + 3?", "prompt": "6b_finetuning", "correct": 1, "answer": "5"},
        {"question": "2 + 3?", "prompt": "6b_verification", "correct": 0, "answer": "4"},
        {"question": "2 + 3?", "prompt": "175b_finetuning", "correct": 0, "answer": "2.3333333"},
        {"question": "2 + 3?", "prompt": "175b_verification", "correct": 1, "answer": "5"},
    ]


def test_bbh_rows_grade_what_is_stated(tmp_path: Path) -> None:
    direct = ["apple lemon", "lemon apple", "apple lemon."]
    cot = [
        "First a. So the answer is apple lemon.",
        "the answer is lemon. No, the answer is apple lemon.",
        "apple lemon, so the answer",
    ]
    put_bbh(tmp_path, "word_sorting", [bbh_row(p) for p in direct], [bbh_row(p, STEPS) for p in cot])
    rows = list(bbh_codex(tmp_path))
    assert {(row["question"], row["segment"], row["llm"]) for row in rows} == {
        ("Sort:\n\nlemon apple", "word_sorting", "code-davinci-002")
    }
    assert [(row["prompt"], row["correct"], row["answer"]) for row in rows] == [
        ("Three examples, then the answer alone", 1, "apple lemon"),
        ("Three examples, then the answer alone", 0, "lemon apple"),
        ("Three examples, then the answer alone", 0, "apple lemon."),
        ("Three worked examples, let's think step by step", 1, "apple lemon"),
        ("Three worked examples, let's think step by step", 1, "apple lemon"),
        ("Three worked examples, let's think step by step", 0, "apple lemon, so the answer"),
    ]


def test_bbh_tasks_are_in_order_each_with_both_prompts(tmp_path: Path) -> None:
    for task in ("snarks", "navigate"):
        put_bbh(tmp_path, task, [bbh_row("a")], [bbh_row("b", STEPS)])
    assert [(row["segment"], row["answer"]) for row in bbh_codex(tmp_path)] == [
        ("navigate", "a"),
        ("navigate", "b"),
        ("snarks", "a"),
        ("snarks", "b"),
    ]


def test_tot_rows_take_both_forms_of_verdict_and_twenty_samples(tmp_path: Path) -> None:
    ys = [f"Steps:\n6 - 4 = 2\nAnswer: {i} = 24\n" for i in range(100)]
    verdicts = [i == 19 for i in range(100)]
    put_tot(
        tmp_path,
        [{"idx": 1, "ys": ys, "accs": verdicts}],
        [{"idx": 0, "ys": ["No way."], "infos": [{"r": 1}]}],
    )
    rows = list(tot_game24(tmp_path))
    assert len(rows) == 21
    assert rows[19] == {
        "question": "Use the numbers 4 5 6 10 and + - * / to obtain 24.",
        "prompt": "standard",
        "correct": 1,
        "answer": "Answer: 19 = 24",
        "llm": "gpt-4",
        "sample": 19,
    }
    assert rows[20] == {
        "question": "Use the numbers 1 1 4 6 and + - * / to obtain 24.",
        "prompt": "chain of thought",
        "correct": 1,
        "answer": "No way.",
        "llm": "gpt-4",
        "sample": 0,
    }
    assert sum(row["correct"] for row in rows[:20]) == 1


def test_the_logs_are_written_and_read(tmp_path: Path) -> None:
    put_all(tmp_path)
    sizes = write_logs(tmp_path, tmp_path / "logs")
    assert sizes == {"re2_gsm8k": 12, "re2_csqa": 12, "openai_gsm8k": 4, "bbh_codex": 2, "tot_game24": 2}
    log = read_log(tmp_path / "logs" / "re2_csqa.csv", llm="gpt-4o-mini")
    assert log.questions == ["Where is it?\n(A) here\n(B) there"]
    assert log.labels.tolist() == [[0, 1, 0, 1]]
    assert log.answer == [None, "B", None, "B"]


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (SOLUTIONS, lines({"question": "q"}), "openai_gsm8k: .*'6b_finetuning'"),
        (SOLUTIONS, "", "openai_gsm8k: .*no rows"),
        (SOLUTIONS, "[1]\n", "expected one JSON object per line"),
        (SOLUTIONS, "{\n", "not valid JSON"),
        (f"{BBH}-cot/word_sorting{BBH_ENDING}", '{"outputs": 3}', "bbh_codex: .*TypeError"),
        (
            f"{BBH}-cot/word_sorting{BBH_ENDING}",
            '{"outputs": [{"prediction": 3}]}',
            "bbh_codex: .*AttributeError",
        ),
        (f"{BBH}-cot/word_sorting{BBH_ENDING}", "[" * 100_000, "not valid JSON"),
        (f"{TOT}/src/tot/data/24/24.csv", "Puzzle\n1 1 4 6\n", "Puzzles"),
        (f"{TOT}/src/tot/data/24/24.csv", "Rank,Puzzles\n", "tot_game24: .*IndexError"),
    ],
)
def test_files_that_are_not_as_published_are_one_line(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    put_all(tmp_path)
    put(tmp_path, name, text)
    with pytest.raises(InputError, match=reason) as caught:
        write_logs(tmp_path, tmp_path / "logs")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; run scripts/fetch_data.py --datasets real_logs again")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    put_all(tmp_path)
    gone = tmp_path / f"{BBH}-cot" / f"word_sorting{BBH_ENDING}"
    gone.unlink()
    with pytest.raises(InputError, match="missing .*word_sorting"):
        write_logs(tmp_path, tmp_path / "logs")
    (tmp_path / f"{BBH}-direct" / gone.name).unlink()
    with pytest.raises(InputError, match="bbh_codex: .*no rows"):
        write_logs(tmp_path, tmp_path / "logs")


# --- the real files -------------------------------------------------------------------------------------

real_files = pytest.mark.skipif(
    not (MIRROR / TOT).is_dir(), reason="no published results in the mirror folder"
)


@pytest.fixture(scope="module")
def real_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(MIRROR, folder)
    return folder


def texts(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.mark.real_logs
@real_files
def test_every_bbh_question_has_one_task_of_27(real_logs: Path) -> None:
    log = texts(real_logs / "bbh_codex.csv")
    assert log["segment"].nunique() == 27
    assert log.groupby("question")["segment"].nunique().max() == 1
    # What the authors state beside their files; the last is without the calculator that they also tried.
    right = log.assign(correct=log["correct"].astype(int)).groupby(["segment", "prompt"])["correct"].mean()
    stated = {"web_of_lies": (0.516, 0.952), "snarks": (0.6124, 0.5955), "object_counting": (0.452, 0.932)}
    for task, (direct, cot) in stated.items():
        assert right[task].tolist() == pytest.approx([direct, cot], abs=5e-5)


@pytest.mark.real_logs
@real_files
@pytest.mark.parametrize(
    ("name", "llm", "questions", "success"),
    [
        ("re2_gsm8k", "text-davinci-003", 1319, [0.1941, 0.5883, 0.1941, 0.6088]),
        ("re2_gsm8k", "gpt-3.5-turbo", 1319, [0.7748, 0.7794, 0.7798, 0.7924]),
        ("re2_gsm8k", "gpt-4o-mini", 1319, [0.9340, 0.9287, 0.9409, 0.9424]),
        ("re2_csqa", "text-davinci-003", 1221, [0.7420, 0.7166, 0.7699, 0.7305]),
        ("re2_csqa", "gpt-3.5-turbo", 1221, [0.7666, 0.6994, 0.7838, 0.7166]),
        ("re2_csqa", "gpt-4o-mini", 1221, [0.8256, 0.8264, 0.8395, 0.8378]),
        ("openai_gsm8k", None, 1319, [0.2168, 0.3904, 0.3472, 0.5625]),
        ("bbh_codex", "code-davinci-002", 6507, [0.5234, 0.7397]),
        ("tot_game24", "gpt-4", 100, [0.0695, 0.0330]),
    ],
)
def test_real_logs_are_read(
    real_logs: Path, name: str, llm: str | None, questions: int, success: list[float]
) -> None:
    log = read_log(real_logs / f"{name}.csv", llm=llm)
    assert (len(log.questions), log.notes) == (questions, [])
    assert log.prompt_success.tolist() == pytest.approx(success, abs=5e-5)


@pytest.mark.real_logs
@real_files
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no other conversion beside the mirror folder")
@pytest.mark.parametrize("name", sorted(LOGS))
def test_real_logs_agree_with_another_conversion(real_logs: Path, name: str) -> None:
    ours = texts(real_logs / f"{name}.csv")
    paths = sorted(REFERENCE.glob(f"{name}*.csv.gz"))
    assert paths
    for path in paths:
        llm = path.name.removesuffix(".csv.gz").removeprefix(name).removeprefix("_")
        mine = (ours[ours["llm"] == llm] if llm else ours).reset_index(drop=True)
        theirs = texts(path)
        for column in ("question", "prompt", "correct"):
            assert mine[column].equals(theirs[column]), (path.name, column)
        # They shortened long answers.
        assert (mine["answer"] == theirs["answer"]).mean() > 0.97
