"""A DSPy module that takes its instruction per input from a selector (extra dspy)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompt_oirl.data.arms import llm_of, prompt_of
from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError
from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.chooser import Chooser
from prompt_oirl.serving.requests import QUESTION
from prompt_oirl.serving.served_log import Answered, new_id

try:
    import dspy
except ModuleNotFoundError as error:
    raise missing("the DSPy adapter needs dspy", "dspy") from error

ID = "prompt_oirl_id"  # of a prediction: names its row of the log


class SelectedInstructions(dspy.Module):
    """Calls a DSPy module with the instruction that a selector chooses for each input.

    Parameters
    ----------
    program : a module with one predictor, such as dspy.Predict("question -> answer") or dspy.ChainOfThought
    selector : folder of a saved selector; its prompts become the instructions, and an empty one keeps the
    program's own
    question : input field that the selector reads; default: the first one
    lms : the dspy.LM of each LLM, by its name in the log, for a selector that chooses the LLM too
    log, explore, seed : as in `Chooser`; a prediction's `prompt_oirl_id` names its row

    Raises: InputError if the program has not one predictor, a field or an LLM is missing, or a prompt is a
    template: DSPy puts the question into a place of its own.
    """

    def __init__(
        self,
        program: dspy.Module,
        selector: str | Path,
        question: str | None = None,
        lms: Mapping[str, dspy.BaseLM] | None = None,
        log: str | Path | None = None,
        explore: float = 0.0,
        seed: int | None = None,
    ):
        super().__init__()
        if len(program.predictors()) != 1:
            raise InputError(f"program has {len(program.predictors())} predictors: give a module with one")
        self.program, self._lms = program, dict(lms or {})
        fields = list(program.predictors()[0].signature.input_fields)
        self._question = question or fields[0]
        if self._question not in fields:
            raise InputError(f"question {self._question!r}: choose an input field, {', '.join(fields)}")
        self._chooser = Chooser(selector, log, explore, seed)
        chosen = self._chooser.selector
        if missing := sorted(set(chosen.llms_ or ()) - set(self._lms)):
            raise InputError(f"the selector chooses the LLM too: give lms with {', '.join(missing)}")
        for text, name in zip(chosen.prompts_, chosen.names_):
            if QUESTION in text:
                raise InputError(f"prompt {name} is a template: DSPy wants an instruction without {QUESTION}")

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The program's prediction."""
        asked = str(inputs.get(self._question, ""))
        choice, started = self._chooser.choose(asked), time.perf_counter()
        return self._kept(self.program(**inputs, **self._changes(choice)), asked, choice, started)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """As `forward`; the selector works in a thread."""
        asked = str(inputs.get(self._question, ""))
        choice, started = await asyncio.to_thread(self._chooser.choose, asked), time.perf_counter()
        return self._kept(await self.program.acall(**inputs, **self._changes(choice)), asked, choice, started)

    def feedback(self, prediction: dspy.Prediction, correct: float) -> None:
        """Log whether a prediction was right, 0 to 1."""
        self._chooser.feedback(prediction[ID], correct)

    def _changes(self, choice: Choice) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if text := prompt_of(choice.arm):
            changes["signature"] = self.program.predictors()[0].signature.with_instructions(text)
        if llm := llm_of(choice.arm):
            changes["lm"] = self._lms[llm]
        return changes

    def _kept(
        self, prediction: dspy.Prediction, asked: str, choice: Choice, started: float
    ) -> dspy.Prediction:
        predictor = self.program.predictors()[0]
        answer = prediction.get(list(predictor.signature.output_fields)[-1])
        lm = predictor.lm or dspy.settings.lm
        answered = Answered(
            status=200,
            latency_ms=(time.perf_counter() - started) * 1e3,
            answer=None if answer is None else str(answer),
        )
        prediction[ID] = new_id()
        self._chooser.record(
            prediction[ID], asked, choice, answered, position="system", llm=getattr(lm, "model", None)
        )
        return prediction
