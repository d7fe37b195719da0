"""A task whose truth is known: an instruction is as good as the number of helpful words in it, a question as
hard as its place."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from prompt_oirl.data.questions import Question
from prompt_oirl.llms import Conversation
from prompt_oirl.opro.tasks import Parts, QuestionTask

HELPFUL = ("step", "careful", "check", "write", "think", "result", "final", "calculation")
THINGS = ("apples", "coins", "books", "shells", "stamps", "pencils", "cards", "marbles", "nuts", "boats")


def toy_questions(n: int = 90) -> list[Question]:
    """Sums of two numbers; difficulty 1..10 is the number of words before the colon."""
    asked = []
    for i in range(n):
        split = ("train", "validation", "test")[i % 3]
        hard = f"{'really ' * (i // 3 % 10)}hard"
        text = f"{hard}: Bob has {i} {THINGS[i % 10]} and finds {2 * i + 1} more. How many?"
        asked.append(Question(f"toy-{i:03d}", text, str(3 * i + 1), split, "number", f"group{i}"))
    return asked


def toy_task(n: int = 90) -> QuestionTask:
    return QuestionTask("toy", tuple(toy_questions(n)), "sums of two numbers")


def toy_parts(task: QuestionTask) -> Parts:
    parts = {s: tuple(q for q in task.questions if q.split == s) for s in ("train", "validation", "test")}
    groups = {q.id: i for i, q in enumerate(task.questions)}
    return Parts(parts["train"], parts["validation"], parts["test"], groups, 0)


def quality(instruction: str) -> int:
    return sum(word in instruction.lower() for word in HELPFUL)


def toy_answer(text: str) -> str:
    """What the simulated model says to a question with its instruction behind it."""
    question, _, instruction = text.partition("How many?")
    a, b = map(int, re.findall(r"\d+", question)[:2])
    right = 2 * quality(instruction) + 2 > question.count("really")
    return f"The answer is {a + b if right else a + b + 1}."


def toy_reply(conversation: Conversation, seed: int) -> str:
    return toy_answer(conversation[-1]["content"])


def pick(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def mutate_last(text: str, seed: int) -> str:
    """An optimizer that reads nothing but the meta-prompt: it appends one word to the last instruction
    shown."""
    shown = re.findall(r"^text:\n(.*)$", text, re.M)
    words = (*HELPFUL, "banana", "hurry", "maybe", "purple", "somehow", "perhaps", "quickly", "loudly")
    return f"Here it is: <INS>{shown[-1]} {words[pick(text, seed) % len(words)]}</INS>"


def reply_to(body: dict[str, Any]) -> str:
    """Optimizer and scorer at one server: a meta-prompt asks for an instruction, anything else is a
    question."""
    text = body["messages"][-1]["content"]
    return mutate_last(text, body["seed"]) if "Begin it with <INS>" in text else toy_answer(text)
