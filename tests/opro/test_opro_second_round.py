"""A second round for pre-trained scorers: what the model reads, what the log holds, what graders read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opro_toy import toy_parts, toy_task

from prompt_oirl.data import interactions
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.grading import verdict
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms import Decoding
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.llms.scripted import ScriptedLLM
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.opro import runs
from prompt_oirl.opro.options import StepOptions
from prompt_oirl.opro.scorers import LLMScorer
from prompt_oirl.opro.second_round import MAX_TOKENS, PHRASE, SecondRound, continued
from prompt_oirl.opro.shared_log import SharedLog, Spending

ASKED = [{"role": "user", "content": "3 + 4?"}]
DECODING = Decoding(0.0, 1.0, 20)


def two_rounds(first: str, second: str) -> str:
    """The text that comes of two replies."""
    llm = SecondRound(ScriptedLLM(lambda c, s: second if PHRASE in c[-1]["content"] else first))
    return llm.generate([ASKED], decoding=DECODING, seeds=[0])[0].text


def test_the_model_goes_on_behind_its_own_answer() -> None:
    inner = ScriptedLLM(
        lambda c, s: ": 7.\nQ: another?" if c[-1]["role"] == "assistant" else "It is 7. Q: 1?"
    )
    [answer] = SecondRound(inner).generate([ASKED], decoding=DECODING, seeds=[0])
    assert inner.asked[1] == [*ASKED, {"role": "assistant", "content": f"It is 7.\n{PHRASE}"}]
    assert answer.text == f"It is 7.\n{PHRASE} 7." and answer.calls == 1
    assert (answer.tokens_in, answer.tokens_out) == (3 + 11, 5 + 3), "of both rounds"


def test_an_instruction_that_opens_the_answer_stays_in_front() -> None:
    opened = [*ASKED, {"role": "assistant", "content": "Let's see:"}]
    assert continued(opened, "3 and 4.")[-1]["content"] == f"Let's see: 3 and 4.\n{PHRASE}"
    assert continued(ASKED, "")[-1]["content"] == PHRASE


@pytest.mark.parametrize(
    ("first", "second", "gold", "kind", "question"),
    [
        ("The answer is 5.", "7.", "7", "number", ""),
        ("First 3, then 4 are added, which makes", " 7", "7", "number", ""),
        ("The answer is yes.", "no", "no", "bool", ""),
        ("The answer is (A).", "(B).", "(B)", "choice", "Which?\n(A) red\n(B) blue"),
        ("It is red.", "blue", "blue", "text", ""),
    ],
)
def test_the_second_reply_is_what_counts(
    first: str, second: str, gold: str, kind: str, question: str
) -> None:
    text = two_rounds(first, second)
    assert verdict("strict", text, gold, kind, question), text
    assert not verdict("strict", two_rounds(first, "nothing"), gold, kind, question)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_replies_make_one_answer(first: str, second: str) -> None:
    text = two_rounds(first, second)
    assert PHRASE in text and "\n" not in text.rpartition(PHRASE)[2]


def test_a_real_model_is_asked_twice_in_a_batch() -> None:
    llm = TransformersLLM(str(REPO_ROOT / "data" / "nano_llama"), chat_format="none")
    asked = [[{"role": "user", "content": f"Bob has {n} apples and eats one.\nSo:"}] for n in (3, 5)]
    for answer, turns in zip(SecondRound(llm).generate(asked, decoding=DECODING, seeds=[0, 0]), asked):
        said, _, final = answer.text.partition(f"\n{PHRASE}")
        again = llm.generate([continued(turns, said)], decoding=Decoding(0, 1, MAX_TOKENS), seeds=[0])
        assert final.strip() == again[0].text.strip(": \n").partition("\n")[0].strip()
        assert answer.tokens_out > again[0].tokens_out and answer.tokens_in > again[0].tokens_in


def scorer(folder: Path, second_round: bool, known: Any = ()) -> LLMScorer:
    task, log = toy_task(), SharedLog(LogFiles(folder, "toy"), "run")
    llm = ScriptedLLM(lambda c, s: "1" if PHRASE in c[-1]["content"] else "The answer is 0.")
    how = DECODING, "strict", log, Budget(), Spending(None)
    return LLMScorer(lambda: llm, "toy", task, *how, second_round=second_round).read_logs(known)


def test_logs_of_one_and_of_two_rounds_are_not_mixed(tmp_path: Path) -> None:
    asked = toy_parts(toy_task()).train[:1]  # whose sum is 1
    [once] = scorer(tmp_path / "one", False).score([Prompt("p", "Go.")], asked, 0, "train")
    [twice] = scorer(tmp_path / "two", True).score([Prompt("p", "Go.")], asked, 0, "train")
    assert once and twice and (once.mean, twice.mean) == (0, 1)
    rows = interactions.read(tmp_path / "one" / "parts" / "toy.rank_run.jsonl", hint="")
    assert scorer(tmp_path / "three", True, rows).count_pending([Prompt("p", "Go.")], asked) == 1
    assert scorer(tmp_path / "four", False, rows).count_pending([Prompt("p", "Go.")], asked) == 0

    files, model = LogFiles(tmp_path / "log", "toy"), ModelOptions("folder/m")
    runs.check_model(files, model, second_round=True)
    with pytest.raises(InputError, match="'second_round'.*--llm"):
        runs.check_model(files, model)


def test_a_chat_server_is_not_asked_twice(tmp_path: Path) -> None:
    server = ModelOptions(backend="openai", model="m")
    options = StepOptions(root=tmp_path, second_round=True, scorer=server)
    with pytest.raises(InputError, match="--second_round"), options.held_log(tmp_path):
        pass
