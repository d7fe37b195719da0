"""The DSPy adapter with DSPy itself: its modules, Evaluate, threads and async, on an LLM server that answers
with what it was instructed to do."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from made_logs import PROMPTS, log_of_two_llms, made_log

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import InputError

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # litellm would fetch prices
dspy = pytest.importorskip("dspy", reason="needs pip install dspy, which wants an older python-dateutil")

from prompt_oirl.serving.dspy_adapter import SelectedInstructions  # noqa: E402


class Upstream(BaseHTTPRequestHandler):
    """Answers every field with the last line of the system message: the instruction."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        instruction = body["messages"][0]["content"].strip().splitlines()[-1].strip()
        text = "".join(f"[[ ## {name} ## ]]\n{instruction}\n\n" for name in ("reasoning", "answer"))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        about = {"id": "0", "object": "chat.completion", "created": 0, "model": body["model"]}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = json.dumps({**about, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{upstream.server_port}/v1"
    upstream.shutdown()


def lm(address: str, name: str = "echo") -> dspy.LM:
    return dspy.LM(f"openai/{name}", api_base=address, api_key="none", cache=False)


@pytest.fixture(scope="module")
def log() -> Any:
    return made_log()


@pytest.fixture(scope="module")
def selector(log: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PromptSelector("tfidf").fit(log).save(tmp_path_factory.mktemp("dspy") / "selector")


@pytest.fixture(autouse=True)
def echo(address: str) -> Any:
    with dspy.context(lm=lm(address), adapter=dspy.ChatAdapter()):
        yield


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open()]


@pytest.mark.parametrize("kind", [dspy.Predict, dspy.ChainOfThought])
def test_each_input_gets_the_selectors_instruction(kind: Any, selector: Path, log: Any) -> None:
    module = SelectedInstructions(kind("question -> answer"), selector)
    questions = list(dict.fromkeys(log["question"]))[:12]
    answers = [module(question=text).answer for text in questions]
    assert answers == list(PromptSelector.load(selector).select(questions))
    assert set(answers) == set(PROMPTS)


def test_evaluate_runs_it_in_threads_and_its_scores_become_feedback(
    selector: Path, log: Any, tmp_path: Path
) -> None:
    module = SelectedInstructions(
        dspy.Predict("question -> answer"), selector, log=tmp_path / "served", explore=0.5
    )
    questions = list(dict.fromkeys(log["question"]))[:40]
    examples = [dspy.Example(question=text, answer=PROMPTS[0]).with_inputs("question") for text in questions]

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        right = prediction.answer == example.answer
        module.feedback(prediction, right)
        return right

    result = dspy.Evaluate(devset=examples, metric=metric, num_threads=4, display_progress=False)(module)
    rows = rows_in(tmp_path / "served")
    answers = {row["id"]: row for row in rows if "id" in row}
    feedback = {row["feedback"]: row["correct"] for row in rows if "feedback" in row}
    assert sorted(row["question"] for row in answers.values()) == sorted(questions)
    assert feedback == {key: float(row["answer"] == PROMPTS[0]) for key, row in answers.items()}
    assert result.score == pytest.approx(100 * sum(feedback.values()) / 40, abs=0.01)
    for row in answers.values():
        assert row["answer"] == row["prompt"] == PROMPTS[row["propensities"].index(row["propensity"])] or (
            row["propensities"].count(row["propensity"]) > 1
        )
        assert sum(row["propensities"]) == pytest.approx(1)
        assert (row["llm"], row["position"], row["status"]) == ("openai/echo", "system", 200)


def test_async_calls_do_the_same(selector: Path, log: Any, tmp_path: Path) -> None:
    module = SelectedInstructions(dspy.Predict("question -> answer"), selector, log=tmp_path / "served")
    questions = list(dict.fromkeys(log["question"]))[:20]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(module.acall(question=text) for text in questions))

    answers = [prediction.answer for prediction in asyncio.run(all_at_once())]
    assert answers == list(PromptSelector.load(selector).select(questions))
    assert len(rows_in(tmp_path / "served")) == 20


def test_an_empty_prompt_keeps_the_programs_own_instruction(log: Any, tmp_path: Path) -> None:
    folder = (
        PromptSelector("tfidf").fit(log.assign(prompt=log["prompt"].replace("Answer:", ""))).save(tmp_path)
    )
    chosen = PromptSelector.load(folder).select(list(log["question"]))
    question = log["question"].iloc[int((chosen == "").argmax())]
    own = dspy.Signature("question -> answer", "Own instruction.")
    assert SelectedInstructions(dspy.Predict(own), folder)(question=question).answer == "Own instruction."


def test_a_selector_of_llms_asks_the_one_it_chose(address: str, tmp_path: Path) -> None:
    from prompt_oirl.data.user_log import read_log

    log = log_of_two_llms()
    fitted = PromptSelector("tfidf").fit(read_log(log, arms=("prompt", "llm")))
    folder = fitted.save(tmp_path / "selector")
    with pytest.raises(InputError, match="give lms with big, small"):
        SelectedInstructions(dspy.Predict("question -> answer"), folder)
    lms = {name: lm(address, name) for name in ("big", "small")}
    module = SelectedInstructions(
        dspy.Predict("question -> answer"), folder, lms=lms, log=tmp_path / "served"
    )
    questions = list(dict.fromkeys(log["question"]))[:8]
    for text in questions:
        module(question=text)
    rows = rows_in(tmp_path / "served")
    assert [row["llm"] for row in rows] == [arm.llm for arm in fitted.select(questions)]
    assert [len(one.history) for one in lms.values()] == [
        sum(row["llm"] == name for row in rows) for name in lms
    ]


def test_a_copy_of_the_program_shares_selector_and_log(selector: Path, tmp_path: Path) -> None:
    module = SelectedInstructions(dspy.Predict("question -> answer"), selector, log=tmp_path / "served")
    module.reset_copy()(question="What is 2 + 2?")
    assert len(rows_in(tmp_path / "served")) == 1
    assert len(list((tmp_path / "served").iterdir())) == 1


def test_what_cannot_work_is_refused(selector: Path, log: Any, tmp_path: Path) -> None:
    program = dspy.Predict("question -> answer")
    with pytest.raises(InputError, match="choose an input field, question"):
        SelectedInstructions(program, selector, question="text")
    with pytest.raises(InputError, match="2 predictors: give a module with one"):
        SelectedInstructions(TwoSteps(), selector)
    template = log.assign(prompt=log["prompt"].replace("Answer:", "Q: {question} A:"))
    folder = PromptSelector("tfidf").fit(template).save(tmp_path / "template")
    with pytest.raises(InputError, match="is a template: DSPy wants an instruction without"):
        SelectedInstructions(program, folder)


class TwoSteps(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict("question -> draft"), dspy.Predict("draft -> answer")
