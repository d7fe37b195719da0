"""Speed of embedding a log and of choosing a prompt for a question."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measuring import both_clocks, comparison, cpu_seconds
from prompt_oirl.data.released import LLM
from prompt_oirl.features.embedders import SentenceEmbedder, load_embedder
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import Paths
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.reward_models import RewardModel

SAMPLE = 300  # rows, or distinct texts, that each side embeds per repeat


def embedding(repeats: int) -> Iterator[dict[str, Any]]:
    """SVAMP's rows: as a loop over rows, in one call of the library, and ours."""
    names = offline_dataset.load_names(LLM, "svamp", Paths())
    index = np.concatenate([names.train_index, names.test_index])
    rows = [names.texts[i] for i in index]
    ours, before = load_embedder("minilm"), SentenceEmbedder("minilm")
    for embedder in (ours, before):
        embedder.encode(["one to load it"])
    library = before._model
    rng = np.random.default_rng(0)

    def per_text(work: Any) -> float:
        return cpu_seconds(work) / SAMPLE

    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        start = int(rng.integers(len(rows) - SAMPLE))
        given = rows[start : start + SAMPLE]
        distinct = sorted(rng.choice(np.array(names.texts, dtype=object), SAMPLE, replace=False), key=len)
        for name, work in {
            "row after row": lambda given=given: [library.encode(text) for text in given],
            "one call": lambda given=given: library.encode(given),
            "ours": lambda some=distinct: ours.encode(some),
        }.items():
            times.setdefault(name, []).append(per_text(work))
    middle = {name: statistics.median(values) for name, values in times.items()}
    mine = middle["ours"] * len(names.texts) / len(rows)
    for name, said in (("row after row", "encode(row) one by one"), ("one call", "one encode(rows)")):
        line = f"embedding the {len(rows):,} SVAMP rows; baseline: {said} at the library's defaults, "
        line += f"{SAMPLE} rows timed"
        yield comparison(line, "CPU ms per row", len(rows), (1e3 * middle[name], 1e3 * mine))


def selection(repeats: int) -> Iterator[dict[str, Any]]:
    """One GSM8K question among 16 prompts end to end, and scoring alone."""
    data = offline_dataset.load(LLM, "gsm8k", Paths())
    shared = fit_data(data, [data.names.paper_split()])["paper"]
    for name in ("xgboost", "interaction"):
        fit = FitSpec(LLM, "gsm8k", "paper", "paper", tuple(range(6)), name, "fast")
        train, validation, _ = fits.training_sets(fit, shared)
        model = fits.reward_models.make(name)
        model.tune(train, validation)
        for embedder in ("minilm", "minilm-bf16"):
            yield from end_to_end(data, model, f"{embedder} and {name}", embedder, repeats)
        yield scoring(data, model, name, repeats)


def end_to_end(
    data: OfflineDataset, model: RewardModel, name: str, spec: str, repeats: int
) -> Iterator[dict[str, Any]]:
    """From a question's text to a prompt: all candidates in one call, against one after the other."""
    embedder = load_embedder(spec)
    texts = [prompt.text for prompt in data.names.prompts]
    asked = [data.names.texts[i] for i in data.names.test_index]
    vectors = embedder.encode(texts)  # the prompt side, once

    def features(text: str) -> np.ndarray:
        return np.concatenate([embedder.encode([text]), surface_features([text])], 1)

    def together(text: str) -> int:
        return int(model.predict(features(text), vectors).argmax())

    def one_by_one(text: str) -> int:
        scores = [model.predict(features(text), embedder.encode([prompt]))[0, 0] for prompt in texts]
        return int(np.argmax(scores))

    together(asked[0])
    baseline, ours = [], []
    for i in range(repeats * 20):
        question = asked[i % len(asked)]
        ours.append(both_clocks(partial(together, question)))
        if i % 20 == 0:
            baseline.append(both_clocks(partial(one_by_one, question)))
    cpu, clock = 1e3 * np.stack([np.median(baseline, 0), np.median(ours, 0)], 1)
    work = (
        f"one question, 16 prompts, {name}, end to end; baseline: candidate by candidate, each embedded anew"
    )
    for sides, unit in ((clock, "ms by the clock, median"), (cpu, "CPU ms, median")):
        yield comparison(work, unit, repeats * 20, sides)


def scoring(data: OfflineDataset, model: RewardModel, name: str, repeats: int) -> dict[str, Any]:
    """Pairs per second without the embedding: 1,000 questions x 16 prompts in one call or pair by pair."""
    questions, prompts, _ = data.features("paper")
    rows = questions[data.names.test_index]

    def pair_by_pair() -> None:
        for j in range(len(prompts)):
            model.predict(rows[:1], prompts[j : j + 1])

    model.predict(rows, prompts)
    together = [cpu_seconds(lambda: model.predict(rows, prompts)) for _ in range(repeats)]
    single = [cpu_seconds(pair_by_pair) for _ in range(5 * repeats)]
    n = len(rows) * len(prompts)
    sides = (len(prompts) / statistics.median(single), n / statistics.median(together))
    work = f"scoring question-prompt pairs with {name}, embedding left out; baseline: pair by pair"
    return comparison(work, "pairs per CPU second", n, sides, higher_is_better=True)
