"""Logs in the files that users have: formats, several files, names of columns, scores, chat messages."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_oirl.data.log_source import columns_of, messages_in
from prompt_oirl.data.user_log import read_log
from prompt_oirl.importers.log_file import read_answers, write_log
from prompt_oirl.importers.messages import question_and_prompt
from prompt_oirl.io import table_formats
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.io.tables import read_table
from prompt_oirl.selection.selector import PromptSelector

HEAD = "question,prompt,correct\n"


def chat(question: str, prompt: str) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": prompt}] if prompt else []
    return [*system, {"role": "user", "content": question}, {"role": "assistant", "content": "7"}]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """my_log.csv, 300 questions and 4 prompts."""
    path = tmp_path_factory.mktemp("example") / "my_log.csv"
    script = REPO_ROOT / "scripts" / "make_example_log.py"
    subprocess.run([sys.executable, script, "--out", path], check=True, capture_output=True)
    return path


def test_one_log_in_any_form_makes_the_same_selector(example: Path, tmp_path: Path) -> None:
    texts = pd.read_csv(example, dtype=str, keep_default_na=False)
    numbers = texts.assign(correct=texts.correct.astype(float))
    numbers.to_csv(tmp_path / "log.tsv", sep="\t", index=False)
    workbook = ["log.xlsx"] if find_spec("openpyxl") else []  # of the extra xlsx
    for name in workbook:
        numbers.to_excel(tmp_path / name, index=False)
    (tmp_path / "log.csv").write_text("sep=;\r\n" + texts.to_csv(sep=";", index=False))
    (tmp_path / "log.json").write_text(numbers.to_json(orient="records", indent=1))
    lines = numbers.to_json(orient="records", lines=True)
    (tmp_path / "log.ndjson").write_text(lines.replace("}\n", "}\n\n"))
    (tmp_path / "lines.json").write_text(lines)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress((tmp_path / "log.tsv").read_bytes()))
    texts.iloc[:400].to_csv(tmp_path / "a.csv", index=False)
    texts.iloc[400:].to_csv(tmp_path / "b.csv", index=False)
    right = texts.correct.map({"1.0": 100, "0.0": 0})
    said = [
        {"chat": chat(q, p), "score": s, "answer": a}
        for q, p, s, a in zip(texts.question, texts.prompt, right, texts.answer)
    ]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    cells = pd.DataFrame(said).assign(chat=[json.dumps(row["chat"]) for row in said])
    cells.to_csv(tmp_path / "chat.csv", index=False)
    pd.DataFrame(said).to_parquet(tmp_path / "chat.parquet")
    prompts = list(dict.fromkeys(texts.prompt))
    results = [
        {
            "promptIdx": prompts.index(p),
            "vars": {"question": q},
            "response": {"output": a},
            "gradingResult": {"componentResults": [{"score": float(c), "assertion": {"type": "equals"}}]},
        }
        for q, p, c, a in zip(texts.question, texts.prompt, texts.correct, texts.answer)
    ]
    held = {"results": {"prompts": [{"raw": p, "label": p} for p in prompts], "results": results}}
    (tmp_path / "results.json").write_text(json.dumps(held))
    write_log(
        tmp_path / "imported.parquet",
        read_answers("promptfoo", [tmp_path / "results.json"], None).rows,
        False,
    )
    of_chats = {"columns": {"question": "chat", "prompt": "chat", "correct": "score"}, "scale": 100}
    logs = {
        "csv": read_log(example),
        "tsv": read_log(tmp_path / "log.tsv"),
        "jsonl.gz": read_log(tmp_path / "log.jsonl.gz"),
        "chats": read_log(tmp_path / "chat.jsonl", **of_chats),
        "promptfoo": read_log(tmp_path / "imported.parquet"),
        "two files": read_log([tmp_path / "a.csv", tmp_path / "b.csv"]),
    }
    logs |= {
        name: read_log(tmp_path / name)
        for name in ("log.csv", "log.json", "lines.json", "log.ndjson", "log.tsv.gz", *workbook)
    } | {name: read_log(tmp_path / name, **of_chats) for name in ("chat.csv", "chat.parquet")}
    first = logs["csv"]
    for name, log in logs.items():
        assert (log.questions, log.prompts, log.answer) == (first.questions, first.prompts, first.answer), (
            name
        )
        np.testing.assert_array_equal(log.labels, first.labels, err_msg=name)
    saved = {}
    for name in ("csv", "tsv", "jsonl.gz", "chats", "promptfoo", *workbook):
        folder = PromptSelector("tfidf").fit(logs[name]).save(tmp_path / "selectors" / name)
        saved[name] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert (
        all(files == saved["csv"] for files in saved.values()) and len(saved["csv"]) == 5
    )  # with card and lock


def test_verdicts_in_the_words_and_scores_of_others() -> None:
    def verdicts(*cells: Any, scale: float = 1) -> list[float]:
        frame = pd.DataFrame({"question": "What is it?", "prompt": "A", "correct": cells}, dtype=object)
        return read_log(frame, scale=scale).correct.tolist()

    assert verdicts("C", "I", "c", "PASS", "FAIL", "passed", "Y", "N", "T") == [1, 0, 1, 1, 0, 1, 1, 0, 1]
    assert verdicts("100", 50, "0", "true", False, "I", True, scale=100) == [1, 0.5, 0, 1, 0, 0, 1]
    assert verdicts(0, 0, scale=100) == [0, 0]
    for cells, scale, message in (
        (["1_0"], 100, "row 0: correct is '1_0', expected a number from 0 to 100, true or false"),
        (["0_1"], 1, "row 0: correct is '0_1'"),
        ([1, 85], 1, "row 1: correct is 85, .*; --scale 100 reads scores from 0 to 100"),
        ([1, 4], 1, "row 1: correct is 4, .*; --scale 5 reads scores from 0 to 5"),
        ([1, 7], 1, "row 1: correct is 7, .*; --scale 10 reads scores from 0 to 10"),
        ([1, 101], 100, "row 1: correct is 101, expected a number from 0 to 100"),
        ([1, 0.5], 100, "no score is above 1; leave out --scale 100"),
        ([1], 0, "--scale 0: give the highest score"),
        ([1], float("nan"), "--scale nan: give the highest score"),
    ):
        with pytest.raises(InputError, match=message):
            verdicts(*cells, scale=scale)


def test_columns_go_by_the_names_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('id,prompt,input,"a, b"\n1,Hi {x},How many?,1\n2,Ho {x},How many?,0\n')
    pairs = columns_of('question=input, "correct=a, b"')
    assert pairs == {"question": "input", "correct": "a, b"}
    assert read_log(path, columns=pairs).labels.tolist() == [[1, 0]]
    swapped = read_log(path, columns={**pairs, "question": "prompt", "prompt": "input"})
    assert swapped.questions == ["Hi {x}", "Ho {x}"] and swapped.prompts == ["How many?"]
    for bad, message in (
        ("question", "--columns: 'question' is not of the form question=YOUR_COLUMN"),
        ("question=", "is not of the form"),
        ("question=a,question=b", "--columns: 'question' is given twice"),
    ):
        with pytest.raises(InputError, match=message):
            columns_of(bad)
    with pytest.raises(InputError, match="--columns 'verdict'=...: the columns are question, prompt"):
        read_log(path, columns={"verdict": "input"})
    with pytest.raises(InputError, match="log.csv: the column output is missing .*; correct --columns"):
        read_log(path, columns={"answer": "output"})
    with pytest.raises(
        InputError, match="the column question is missing .*say with --columns which of yours"
    ):
        read_log(path)


def test_messages_that_pandas_wrote_into_a_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"chat": [chat("What's up?", "Be kind."), chat("Who?", "Be kind.")], "correct": [1, 0]}
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    log = read_log(tmp_path / "log.csv", columns={"question": "chat", "prompt": "chat"})
    assert (log.questions, log.prompts) == (["What's up?", "Who?"], ["Be kind."])
    assert messages_in("[{'role': 'user', 'content': print(1)}]") is None


def test_a_workbook_with_the_log_on_several_sheets_is_refused(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("notes"), book.create_sheet("more")):
        sheet.append(["question", "prompt", "correct"] if sheet.title != "notes" else ["what"])
        sheet.append(["x", f"Prompt of {sheet.title}", 1])
    book.save(tmp_path / "log.xlsx")
    with pytest.raises(
        InputError, match="the sheet more has the header of the first one; save each as a .csv"
    ):
        read_log(tmp_path / "log.xlsx")
    del book["more"]
    book.save(tmp_path / "log.xlsx")
    assert read_log(tmp_path / "log.xlsx").prompts == ["Prompt of Sheet"]


def test_prompts_in_merged_cells_are_no_questions_without_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    blocks = [
        "".join(f"q{i},{prompt if i == 0 else ''},1\n" for i in range(6)) for prompt in ("Think.", "Say.")
    ]
    path.write_text(HEAD + "".join(blocks))
    with pytest.raises(InputError, match="log.csv: each prompt stands in one row, .* fill each prompt down"):
        read_log(path)
    path.write_text(HEAD + "".join(f"q{i},,1\nq{i},Say.,0\n" for i in range(12)))
    assert read_log(path).prompts == ["", "Say."]


def test_complaints_on_several_files_name_the_file(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.csv" for name in "abc")
    a.write_text(HEAD + "x,A,1\n")
    b.write_text("question,prompt,correct,sample\ny,A,1,0\nx,A,maybe,0\n")
    c.write_text("question,prompt,score\nx,A,1\n")
    for files, message in (
        ([a, b], "b.csv:3: correct is 'maybe'"),
        ([a, c], "c.csv: the column correct is missing"),
        ([a, a], "a.csv: named twice"),
        ([a, tmp_path / "no.csv"], "missing .*no.csv: correct the path"),
        ([], "name a log, or give - for stdin"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            read_log(files)
        assert "\n" not in str(refused.value)
    # Without the column sample, answers of a further file are further samples.
    b.write_text("question,prompt,correct,cost\ny,A,1,3\nx,A,0,\n")
    log = read_log([a, b])
    assert log.labels.tolist() == [[0.5], [1]] and log.counts.tolist() == [[2], [1]]


ROW = b'{"question": "a", "prompt": "A", "correct": 1}'
BAD: dict[str, tuple[str, bytes, str]] = {
    "a header again": (
        "l.csv",
        b"question,prompt,correct\na,A,1\nquestion,prompt,correct\nb,A,1\n",
        "l.csv:3: the names",
    ),
    "a header again, with a mark and in another order": (
        "l.csv",
        b'question,prompt,correct\n"a\nb",A,1\n\xef\xbb\xbfprompt,question,correct\n',
        "l.csv:4: the names of the columns stand here again",
    ),
    "a shorter header": (
        "l.tsv",
        b"question\tprompt\tcorrect\tcost\na\tA\t1\t\nquestion\tprompt\tcorrect\n",
        "l.tsv:3:",
    ),
    "a quote in a text": (
        "l.csv",
        b'question,prompt,correct\nx,A,1\n"a" b,A,1\n',
        "l.csv:3: not a readable CSV (a quote",
    ),
    "a quote never closed": (
        "l.csv",
        b'question,prompt,correct\nx,A,1\n"a,A,1\nb,A,1\nc,A,1\n',
        "l.csv:3: not a readable CSV (a quote is opened here and not closed",
    ),
    "a quote never closed below sep=": (
        "l.csv",
        b'sep=;\nquestion;prompt;correct\nx;A;1\n"a;A;1\n',
        "l.csv:4: not a",
    ),
    "too many cells below sep=": ("l.csv", b"sep=;\nquestion;prompt;correct\nx;A;1;2\n", "l.csv:3: 4 cells"),
    "latin-1 far below": (
        "l.csv",
        b"question,prompt,correct\n" + b"a,A,1\n" * 5000 + b"\xe9,A,1\n",
        "l.csv:5002: not UTF-8",
    ),
    "line ends of old": ("l.csv", b"question,prompt,correct\ra,A,1\rb,A,7\r", "l.csv:3: correct is '7'"),
    "UTF-16": (
        "l.csv",
        HEAD.encode("utf-16"),
        "l.csv:1: not UTF-8 (invalid start byte); save it as UTF-8, or",
    ),
    "a column twice": (
        "l.csv",
        b"question,prompt,correct,correct\na,A,1,1\n",
        "l.csv: two columns are called correct; rename one",
    ),
    "tabs in .csv": ("l.csv", b"question\tprompt\tcorrect\na\tA\t1\n", "name the file .tsv"),
    "semicolons": ("l.csv", b"question;prompt;correct\na;A;1\n", "put a first line sep=; above the header"),
    "only sep=": ("l.csv", b"sep=;\n", "l.csv: the file is empty"),
    "a key twice": (
        "l.jsonl",
        ROW + b'\n\n{"question": "a", "prompt": "A", "correct": 1, "correct": 0}\n',
        "l.jsonl:3: not valid JSON (the key 'correct' stands twice",
    ),
    "a key twice within": (
        "l.jsonl",
        b'{"question": "a", "x": {"k": 1, "k": 2}}',
        "l.jsonl:1: not valid JSON (the key 'k'",
    ),
    "the line after a blank one": ("l.ndjson", ROW + b"\n \r\n{}x\n", "l.ndjson:3: not valid JSON"),
    "a verdict after a blank line": (
        "l.jsonl",
        ROW + b"\n\n" + ROW.replace(b"1}", b"2}"),
        "l.jsonl:3: correct is 2",
    ),
    "deep nesting": ("l.jsonl", b"[" * 100_000, "l.jsonl:1: not valid JSON (maximum recursion"),
    "an object": ("l.json", ROW, "l.json:1: no array begins here; give an array of objects"),
    "a number in an array": ("l.json", b"[\n" + ROW + b",\n3]", "l.json:3: no object begins here"),
    "a key twice in an array": (
        "l.json",
        b"[\n" + ROW + b',\n{"a": 1, "a": 2}]',
        "l.json:3: not valid JSON (the key 'a'",
    ),
    "a torn array": ("l.json", b"[" + ROW, "l.json:1: expected a comma or the closing bracket"),
    "no comma": ("l.json", b"[" + ROW + b"\n" + ROW + b"]", "l.json:2: expected a comma"),
    "behind the array": ("l.json", b"[" + ROW + b"]\n[]", "l.json:2: more stands behind the array"),
    "a deep array": ("l.json", b"[" * 100_000, "l.json:1: not valid JSON (maximum recursion"),
    "an empty array": ("l.json", b"[]", "l.json: the column question is missing"),
    "a verdict in an array": (
        "l.json",
        b"[" + ROW + b"," + ROW.replace(b"1}", b"7}") + b"]",
        "l.json:2: correct is 7",
    ),
    "no workbook": ("l.xlsx", b"PK no", "l.xlsx: not a readable .xlsx workbook"),
    "old workbook": ("l.xls", b"", "the name must end in .csv, .tsv"),
    "chat without user": (
        "l.jsonl",
        b'{"prompt": [{"role": "system", "content": "A"}], "correct": 1}',
        "l.jsonl:1: the chat messages hold no question that can be read",
    ),
    "chat of pictures": (
        "l.jsonl",
        b'{"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "correct": 1}',
        "l.jsonl:1: the chat messages hold no question",
    ),
    "chat and another question": (
        "l.jsonl",
        b'{"question": "b", "prompt": [{"role": "user", "content": "a"}], "correct": 1}',
        "l.jsonl:1: chat messages hold question and prompt, and the other column says otherwise",
    ),
    "chat and another prompt": (
        "l.jsonl",
        json.dumps({"question": chat("a", "A"), "prompt": "B", "correct": 1}).encode(),
        "l.jsonl:1: chat messages hold question and prompt, and the other column says otherwise",
    ),
    "two chats": (
        "l.jsonl",
        json.dumps({"question": chat("a", "A"), "prompt": chat("a", "B"), "correct": 1}).encode(),
        "l.jsonl:1: chat messages hold question and prompt, and the other column says otherwise",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line_that_names_the_line(name: str, tmp_path: Path) -> None:
    file, content, message = BAD[name]
    if file.endswith(".xlsx"):
        pytest.importorskip("openpyxl")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_log(tmp_path / file)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_list_that_is_no_chat_is_no_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": [["a", "b"]], "prompt": "A", "correct": 1, "answer": [["c", "d"]]})
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"log.parquet:1: question is array\(\['a', 'b'\], .* expected text"):
        read_log(tmp_path / "log.parquet")
    frame.assign(question="a").to_parquet(tmp_path / "log.parquet")
    assert read_log(tmp_path / "log.parquet").answer == ["['c' 'd']"]


def test_a_folder_is_refused_with_what_to_type(tmp_path: Path) -> None:
    for folder in (tmp_path / "logs", tmp_path / "logs.csv"):
        folder.mkdir()
        with pytest.raises(InputError, match=r"is a folder: name its files, .* as in .*/\*\.csv"):
            read_log(folder)


def test_workbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")

    def saved(*rows: tuple) -> Path:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / "log.xlsx")
        return tmp_path / "log.xlsx"

    names = ("question", "prompt", "correct")
    log = read_log(saved(names, ("a_x000D_\nb", "A", True), (), ("b", None, 0.5)))
    assert log.questions == ["a\r\nb", "b"] and log.prompts == ["A", ""] and log.correct.tolist() == [1, 0.5]
    for rows, message in (
        ([], "the first sheet is empty"),
        ([names, (), ("a", "A", 2)], "log.xlsx:3: correct is 2"),
        ([names, ("a", "A", "=1+0")], "log.xlsx:2: a formula without a stored value"),
        ([names, ("a", "A", 1), names], "log.xlsx:3: the names of the columns stand here again"),
    ):
        with pytest.raises(InputError, match=message):
            read_log(saved(*rows))
    book = openpyxl.Workbook()
    for row in [names, ("a", "A", 1), ("b", "A", 0)]:
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "log.xlsx")
    with pytest.raises(InputError, match="log.xlsx: cells B2:B3 are merged; take them apart"):
        read_log(tmp_path / "log.xlsx")
    monkeypatch.setattr(table_formats, "LARGEST_UNPACKED", 1000)
    with pytest.raises(InputError, match="log.xlsx: unpacks to more than 1,000 bytes"):
        read_log(saved(names, ("a", "A", 1)))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"\.xlsx needs openpyxl: pip install 'prompt-oirl\[import\]'"):
        read_log(saved(names))


def test_chat_messages_are_prompt_and_question() -> None:
    few_shot = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": None},
    ]
    assert question_and_prompt(few_shot) == ("2 + 2?", "Be brief.\n\nUser: 1 + 1?\nAssistant: 2")
    assert question_and_prompt(few_shot[3:]) == ("2 + 2?", None)
    assert question_and_prompt([{"role": "user", "content": " "}]) is None
    frame = pd.DataFrame({"question": ["2 + 2?"] * 2, "prompt": [few_shot, "Think."], "correct": [1, 0]})
    log = read_log(frame)
    assert log.questions == ["2 + 2?"] and log.prompts == [
        "Be brief.\n\nUser: 1 + 1?\nAssistant: 2",
        "Think.",
    ]
    # A message of the user alone leaves the column prompt as it is.
    told = read_log(pd.DataFrame({"question": [few_shot[3:]], "prompt": ["Think."], "correct": [1]}))
    assert (told.questions, told.prompts) == (["2 + 2?"], ["Think."])


@pytest.mark.parametrize(
    "cell",
    [
        "[1, 2]",
        '[{"role": "user"}]',
        '["role"]',
        '[{"role": "king", "content": ""}]',
        '[{"role"',
        [],
        3,
        None,
    ],
)
def test_what_is_no_chat_stays_as_it_is(cell: Any) -> None:
    assert messages_in(cell) is None


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", ";", "\t", "|"]))
def test_any_text_survives_any_separator(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    path = tmp_path_factory.mktemp("text") / "table.csv"
    frame = pd.DataFrame([("q" + a, "p" + b) for a, b in rows], columns=["question", "prompt"])
    path.write_bytes(
        f"sep={separator}\n".encode() + frame.to_csv(sep=separator, index=False, quoting=1).encode()
    )
    assert read_table(path, "").to_numpy().tolist() == frame.to_numpy().tolist()


@given(st.binary(max_size=40), st.sampled_from(["log.csv", "log.jsonl", "log.json", "log.tsv", "log.csv.gz"]))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(data)
    try:
        read_table(path, "hint")
    except InputError as refused:
        assert "\n" not in str(refused)


def test_chat_templates_are_prompts() -> None:
    template = json.dumps(chat("{{question}}", "Be brief."))
    frame = pd.DataFrame({"question": ["a", "b"], "prompt": template, "correct": [1, 0]})
    log = read_log(frame)
    assert log.questions == ["a", "b"] and log.prompts == [template]


def test_what_is_missing_is_asked_for_where_it_may_lie() -> None:
    answers = {"prompt": ["A"], "answer": ["7"]}
    for columns, message in (
        ({"question": ["a"], **answers}, "the column correct is missing.*prompt-oirl grade LOG --gold"),
        ({**answers, "correct": [1]}, "the column question is missing.*prompt-oirl import log takes"),
        ({"messages": [chat("a", "A")], "correct": [1]}, "--columns question=messages,prompt=messages takes"),
        ({"question": ["a"], **answers, "correct": [None]}, "no row with a verdict; prompt-oirl grade LOG"),
    ):
        with pytest.raises(InputError, match=message):
            read_log(pd.DataFrame(columns))


def test_columns_may_be_renamed_in_one_file_of_two(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,prompt,right\na,A,1\n")
    (tmp_path / "b.csv").write_text("question,prompt,correct\nb,A,0\n")
    log = read_log([tmp_path / "a.csv", tmp_path / "b.csv"], columns={"correct": "right"})
    assert log.correct.tolist() == [1, 0]
