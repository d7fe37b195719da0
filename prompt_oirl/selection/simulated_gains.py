"""Selection, diagnosis and variance split on simulated logs whose truth is known, counted over many draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from prompt_oirl.reward_models.cells import Cells
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.study import Study, study
from prompt_oirl.reward_models.training_set import TrainingSet
from prompt_oirl.selection.hindsight import WEIGHTS, at_every_precision
from prompt_oirl.selection.simulation import GSM8K, MAWPS, SimulatedLog, simulate
from prompt_oirl.selection.variance import variance_split
from prompt_oirl.selection.verdict import decide_verdict
from prompt_oirl.stats.crossfit import Map

SIZES: dict[str, dict[str, Any]] = {"mawps": MAWPS, "gsm8k": GSM8K}
GAINS = (0, 1, 3, 5)  # attainable, in points
VERDICT_GAINS = (0, 1, 3)
VERDICTS = ("worth it", "not shown", "not enough data")


def logs_of(size: str, logs: int) -> int:
    """Half as many logs at the size and rates of GSM8K, which take longer."""
    return logs if size == "mawps" else (logs + 1) // 2


def gain_rows(size: str, logs: int, each: Map = map) -> Iterator[dict[str, Any]]:
    """What choosing by the interaction model gains on logs of a released dataset's size.

    Parameters
    ----------
    size : mawps or gsm8k
    logs : simulated logs per setting, see `logs_of`
    each : as of `crossfit`
    """
    logs = logs_of(size, logs)
    for samples in (1, 4) if size == "mawps" else (1,):
        shape = {**SIZES[size], "samples": samples}
        for attainable in GAINS:
            found = list(each(partial(simulated_gain, shape, attainable), range(logs)))
            gain, moved = np.array([f[:2] for f in found]).T
            yield {
                "size": size,
                "samples": samples,
                "attainable": attainable,
                "logs": logs,
                "mean_gain": round(gain.mean(), 3),
                "standard_error": round(gain.std() / np.sqrt(logs), 3),
                "share_losing_half_a_point": round((gain < -0.5).mean(), 3),
                "moved": round(moved.mean(), 3),
                "fallback": round((moved == 0).mean(), 3),
                "settings_from_the_truth": round(np.mean([f[2] for f in found], 0).max(), 3),
            }


def simulated_gain(shape: dict[str, Any], attainable: float, seed: int) -> tuple[float, float, np.ndarray]:
    """What choosing by the interaction model gains on one simulated log.

    Parameters
    ----------
    shape : arguments of `simulate`, such as sizes and success rates
    attainable : points that are there to be gained
    seed : of the log

    Returns: true gain in points over the train-best prompt on test questions; how often (0..1) the pick is
    another prompt; and the gains, float64 (penalties, weights) in points, without any test, of which the mean
    over logs says which setting would have been best.
    """
    log = simulate(attainable, seed=seed, **shape)
    train = log.training_set()
    model = InteractionModel()
    model.fit(train)
    picks = model.predict(log.vectors[~log.train], log.prompt_vectors).argmax(1)
    best = int(train.prompt_means.argmax())
    return log.gain(picks, best), float((picks != best).mean()), _fixed_settings(log, train, model, best)


def _fixed_settings(log: SimulatedLog, train: TrainingSet, model: InteractionModel, best: int) -> np.ndarray:
    """True gain for each precision and weight of the interaction (precisions, weights), same difficulty."""
    effects, new = model.study.effects, model.features(log.vectors[~log.train])
    interactions = at_every_precision(model.features.of_all(train), Cells.of(train), effects)
    gains = np.empty((len(interactions), len(WEIGHTS)))
    for i, coefficients in enumerate(interactions):
        for j, weight in enumerate(WEIGHTS):
            picks = (effects.b_alone + weight * (new @ coefficients)).argmax(1)
            gains[i, j] = log.gain(picks, best)
    return gains


def verdict_rows(logs: int, each: Map = map) -> Iterator[dict[str, Any]]:
    """How often each verdict comes out, and how often the interval of the gain covers the true one.

    "learned" is the true gain of choosing by what the log teaches, whether or not the selector dares to;
    "kept" that of the selector, which is 0 where it keeps to the best prompt.
    """
    for name, shape in SIZES.items():
        for attainable in VERDICT_GAINS:
            found = list(each(partial(_verdict, shape["rates"], attainable), range(1000, 1000 + logs)))
            words, values = [f[0] for f in found], 100 * np.array([f[1:] for f in found])
            learned, kept, estimate, low, high = values.T
            yield {
                "rates": name,
                "attainable": attainable,
                "logs": logs,
                **{word.replace(" ", "_"): round(words.count(word) / logs, 3) for word in VERDICTS},
                "learned_gain": round(learned.mean(), 3),
                "kept_gain": round(kept.mean(), 3),
                "estimate": round(estimate.mean(), 3),
                "standard_error": round(estimate.std() / np.sqrt(logs), 3),
                "covered": round(((low <= learned + 1e-9) & (learned <= high + 1e-9)).mean(), 3),
            }


def _verdict(
    rates: Sequence[float], attainable: float, seed: int
) -> tuple[str, float, float, float, float, float]:
    log = simulate(attainable, train=1500, test=2000, rates=rates, seed=seed)
    train = log.training_set()
    features = QuestionFeatures(seed).fit(train.questions, train.embedding_size)
    found = study(features.of_all(train), train, seed)
    assert found.gain is not None
    learned = _true_gain(log, features, found)
    verdict = decide_verdict(found, len(train.questions))
    return verdict.word, learned, learned * found.supported, *found.gain.estimate


def _true_gain(log: SimulatedLog, features: QuestionFeatures, found: Study) -> float:
    """True gain, in success, of choosing by the interaction at the weight that held-out answers gave it."""
    phi = features(log.vectors[~log.train])
    b = found.b if found.supported else found.effects.b
    scores = b + found.share * (phi @ found.effects.interaction)
    return log.gain(scores.argmax(1), found.effects.best) / 100


def variance_rows(logs: int, each: Map = map) -> Iterator[dict[str, Any]]:
    """True and estimated variance components of logs with two answers per cell."""
    true, estimated = np.mean(list(each(_components, range(logs))), 0)
    for i, component in enumerate(("prompt", "difficulty", "interaction", "noise")):
        yield {
            "component": component,
            "samples": 2,
            "logs": logs,
            "true_share": round(true[i] / true.sum(), 4),
            "estimated_share": round(estimated[i] / true.sum(), 4),
            "relative_error": round(estimated[i] / true[i] - 1, 4),
            "points_of_total": round(100 * (estimated[i] - true[i]) / true.sum(), 3),
        }


def _components(seed: int) -> tuple[list[float], list[float]]:
    """True and estimated components of one simulated log."""
    rates = tuple(np.linspace(0.2, 0.6, 8))
    log = simulate(3, train=2000, test=1, rates=rates, samples=2, seed=seed)
    answers = log.prompt_log()
    split = variance_split(answers.question, answers.prompt, answers.correct.astype(float), (2000, 8))
    assert split is not None
    estimated = [split.prompt, split.difficulty[1], split.interaction[1], split.noise[1]]
    return list(log.components().values()), estimated
