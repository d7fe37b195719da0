"""The DSPy adapter with DSPy itself: its modules, Evaluate, threads and async, on an LM that answers with
what it was instructed to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from made_logs import PROMPTS, log_of_two_llms, made_log

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import InputError

dspy = pytest.importorskip("dspy")

from prompt_oirl.serving.dspy_adapter import SelectedInstructions  # noqa: E402


class Echo(dspy.BaseLM):
    """Answers with the instruction it was given; its last line of the system message."""

    def forward(self, prompt: str | None = None, messages: Any = None, **kwargs: Any) -> Any:
        from openai.types.chat import ChatCompletion

        instruction = messages[0]["content"].strip().splitlines()[-1].strip()
        text = "".join(f"[[ ## {name} ## ]]\n{instruction}\n\n" for name in ("reasoning", "answer"))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return ChatCompletion.model_validate(
            {"id": "0", "object": "chat.completion", "created": 0, "model": self.model}
            | {"choices": [choice], "usage": usage}
        )

    async def aforward(self, prompt: str | None = None, messages: Any = None, **kwargs: Any) -> Any:
        return self.forward(prompt, messages, **kwargs)


@pytest.fixture(scope="module")
def log() -> Any:
    return made_log()


@pytest.fixture(scope="module")
def selector(log: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return PromptSelector("tfidf").fit(log).save(tmp_path_factory.mktemp("dspy") / "selector")


@pytest.fixture(autouse=True)
def echo() -> Any:
    with dspy.context(lm=Echo("echo"), adapter=dspy.ChatAdapter()):
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
        assert (row["llm"], row["position"], row["status"]) == ("echo", "system", 200)


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


def test_a_selector_of_llms_asks_the_one_it_chose(tmp_path: Path) -> None:
    from prompt_oirl.data.user_log import read_log

    log = log_of_two_llms()
    fitted = PromptSelector("tfidf").fit(read_log(log, arms=("prompt", "llm")))
    folder = fitted.save(tmp_path / "selector")
    with pytest.raises(InputError, match="give lms with big, small"):
        SelectedInstructions(dspy.Predict("question -> answer"), folder)
    lms = {name: Echo(name) for name in ("big", "small")}
    module = SelectedInstructions(
        dspy.Predict("question -> answer"), folder, lms=lms, log=tmp_path / "served"
    )
    questions = list(dict.fromkeys(log["question"]))[:8]
    for text in questions:
        module(question=text)
    rows = rows_in(tmp_path / "served")
    assert [row["llm"] for row in rows] == [arm.llm for arm in fitted.select(questions)]
    assert [len(lm.history) for lm in lms.values()] == [
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
