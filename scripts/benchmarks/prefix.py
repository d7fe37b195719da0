"""Speed of step 1 where six prompts follow each question, with and without reading the question once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import comparison, cpu_seconds
from prompt_oirl.data.log_store import Key
from prompt_oirl.data.prompts import PUBLISHED, load_prompts
from prompt_oirl.data.questions import load_own_questions
from prompt_oirl.io.files import REPO_ROOT, Paths
from prompt_oirl.llms import Decoding, Generation, generation, shared_prefix
from prompt_oirl.llms.chat import conversation
from prompt_oirl.llms.generation import Item

ARITH = REPO_ROOT / "data" / "arith"
MODELS = {  # folder, prompts, questions, and how often to measure long answers, which take minutes
    "tiny model": (REPO_ROOT / "data" / "nano_llama", ARITH / "prompts.csv", 64, 3),
    "SmolLM2-135M-Instruct": (Paths().fetched / "smollm2-135m-instruct-q4_1", PUBLISHED, 8, 1),
}


def prefix(repeats: int) -> Iterator[dict[str, Any]]:
    """Short and long answers; before: prompt by prompt, every question read under every prompt."""
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    for name, (folder, prompts, questions, at_most) in MODELS.items():
        if not folder.is_dir():
            print(f"{name} is left out: there is no {folder} (`make real-server` prepares it)")
            continue
        llm = TransformersLLM(str(folder))
        for tokens, times in ((10, repeats), (120, min(repeats, at_most))):
            work = f"step 1, {name}, 6 prompts a question, answers of at most {tokens} tokens"
            yield _line(llm, work, times, prompts, questions, tokens)


def _line(llm: Any, work: str, repeats: int, prompts: Path, questions: int, tokens: int) -> dict[str, Any]:
    asked = load_own_questions(ARITH / "test.jsonl", "arith")[:questions]
    items = generation.all_items(asked, load_prompts(prompts)[:6], 1)
    settings = generation.LogSettings("bench", "arith", Decoding(max_new_tokens=tokens), "strict", "\n")
    by_prompt = sorted(items, key=lambda item: (item.prompt.id, -len(item.question.text), item.key))
    by_question = sorted(items, key=generation.asking_order)
    worth = shared_prefix.WORTH
    texts: dict[str, dict[Key, Generation]] = {}

    def before() -> None:
        shared_prefix.WORTH = 0.0
        texts["before"] = _answers(llm, by_prompt, settings)

    def ours() -> None:
        shared_prefix.WORTH = worth
        texts["ours"] = _answers(llm, by_question, settings)

    _answers(llm, by_question[:12], settings)  # to warm up
    times = [(cpu_seconds(before), cpu_seconds(ours)) for _ in range(repeats)]
    assert texts["before"] == texts["ours"]
    rates = questions / np.median(times, 0)
    unit = "questions per CPU second"
    return comparison(work, unit, questions, rates, higher_is_better=True, repeats=repeats)


def _answers(llm: Any, items: Sequence[Item], settings: generation.LogSettings) -> dict[Key, Generation]:
    answers: dict[Key, Generation] = {}
    for at in range(0, len(items), llm.batch_size):
        batch = items[at : at + llm.batch_size]
        talks = [conversation(item.question.text, item.prompt) for item in batch]
        seeds = [item.seed(settings) for item in batch]
        found = llm.generate(talks, decoding=settings.decoding, seeds=seeds)
        answers |= {item.key: answer for item, answer in zip(batch, found)}
    return answers
