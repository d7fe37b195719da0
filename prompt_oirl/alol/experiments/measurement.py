"""One policy of an experiment: trained from a prepared run's reference, asked the test prompts, kept as JSON.

Where training is validated, two things are measured on test. `trained`: the best validated weights.
`final_reward`, what a careful user would deploy: the same, but the untrained reference where no validation
beat its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation.aggregation import Evaluated, group_means
from prompt_oirl.alol.evaluation.responses import answer, reward_responses
from prompt_oirl.alol.policies import (
    Baseline,
    Evaluate,
    LossAlgorithm,
    PolicyData,
    TrainedPolicy,
    train_policy,
)
from prompt_oirl.alol.rows import FINAL, Row
from prompt_oirl.alol.steps.train_policy import PolicyOptions, advantages_file, load_data
from prompt_oirl.alol.training.losses import PRESETS, choose_loss
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.tracking import reporting

HINT = "remove it, and run the same command again"
REFERENCE, TRAINED = "reference", "trained"
Scores = dict[str, dict[str, dict[str, float]]]  # segment -> metric -> group -> mean


@dataclass
class PreparedRun:
    """A prepared run in memory: what steps 1 to 3 left. `known` holds the reference's validation scores by
    seed, and its test scores by (seed, `test`)."""

    options: PolicyOptions
    model: Any
    data: PolicyData
    test: list[Row]
    known: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One policy to train and evaluate, and the file that its scores go to.

    flipped : share of the training rows whose reward r is turned into max - r.
    tested : false for runs that tune a setting, which see validation prompts only.
    """

    algorithm: str
    recipe: TrainingRecipe
    path: Path
    strategy: str = "none"
    kl_beta: float = 0.0
    flipped: float = 0.0
    tested: bool = True

    @property
    def seed(self) -> int:
        """Of the training, its validation and the noise of its test answers."""
        return self.recipe.seed


def load_run(options: PolicyOptions) -> PreparedRun:
    """What steps 1 to 3 left, in memory."""
    source, rows = options.reference, options.rows("train")
    key, cache = advantages_file(options, source, rows, options.limits(options.task))
    model, tokenizer = source.load("cpu")
    return PreparedRun(options, model, load_data(options, tokenizer, rows, key, cache), options.rows("test"))


def measure(run: PreparedRun, one: Measurement) -> None:
    """Train one policy, answer the test prompts, and keep its rewards by group of questions.

    Parameters
    ----------
    run : what steps 1 to 3 prepared; its model is copied, not changed
    one : the policy; if its file is there already, nothing is done

    Raises: InputError if the file that is there is of other settings.
    """
    recipe = one.recipe
    about: dict[str, Any] = {"algorithm": one.algorithm, "seed": one.seed, "run": run.options.run}
    about |= {"strategy": one.strategy, "kl_beta": one.kl_beta}
    about |= {"learning_rate": recipe.learning_rate, "steps": recipe.steps}
    about |= {"batch_size": recipe.batch_size, "flipped": one.flipped, "rows": len(run.data.rows)}
    about |= {"validation_prompts": run.data.validation_prompts, "test_prompts": len(run.test)}
    if one.path.is_file():
        kept = read_json(one.path, hint=HINT)
        if other := [name for name, value in about.items() if kept.get(name) != value]:
            raise InputError(f"{one.path}: measured with another {other[0]}; {HINT}")
        return
    model, validation, start = copy.deepcopy(run.model), [], None
    if one.algorithm != REFERENCE:
        found = trained(run, model, one)
        validation = [[row["step"], row["score"]] for row in found.curve if "score" in row]
        start = found.start_score
    about |= {"validation": validation, "validation_of_reference": start, "scores": {}}
    if one.tested:
        keeps_reference = start is not None and best_score(validation) <= start
        about["keeps_reference"] = keeps_reference
        about["scores"] = test_scores(run, model, one, keeps_reference)
    write_json(one.path, about)
    metrics = about["scores"].get("all", {})
    told = "  ".join(f"{name} {np.mean(list(of.values())):.3f}" for name, of in metrics.items())
    print(f"{one.path.stem:34} {told}  validation {start} {validation}", flush=True)


def best_score(validation: Sequence[Sequence[float]]) -> float:
    """The best score of (update, score) pairs."""
    return max(score for _, score in validation)


def test_scores(run: PreparedRun, model: Any, one: Measurement, keeps_reference: bool) -> Scores:
    """Test scores of what is kept (the task's metric) and, where there were validations, of the trained
    weights (`trained`).

    Parameters
    ----------
    run : holds the reference and the test prompts
    model : the trained weights
    one : its seed is that of the answers' noise, the same for policy and reference
    keeps_reference : true if no validation beat the reference's
    """
    metric = run.data.task.metric
    own = scores_of(run, model, one.seed)
    kept = own
    if keeps_reference:
        if (one.seed, "test") not in run.known:
            run.known[one.seed, "test"] = scores_of(run, run.model, one.seed)
        kept = run.known[one.seed, "test"]
    elif one.algorithm == REFERENCE:
        run.known[one.seed, "test"] = own
    validated = one.recipe.eval_every > 0
    return {s: {metric: kept[s]} | ({TRAINED: own[s]} if validated else {}) for s in own}


def scores_of(run: PreparedRun, model: Any, seed: int) -> dict[str, dict[str, float]]:
    """The task's metric of one sampled response to every test prompt: segment -> group -> mean.

    Parameters
    ----------
    run : holds the test prompts
    model : what answers
    seed : of the sampling noise
    """
    data, task = run.data, run.data.task
    prompts = list({row.prompt: row for row in run.test}.values())
    said = answer(task, model, data.tokenizer, prompts, data.limits, data.eval_batch_size, seed)
    found: dict[str, dict[str, list[float]]] = {}
    for row, components in zip(prompts, reward_responses(task, prompts, said)):
        for segment in dict.fromkeys(("all", row.segment or "all")):
            of_group = found.setdefault(segment, {}).setdefault(row.cluster, [])
            of_group.append(components[0][task.metric])
    return {segment: group_means(groups) for segment, groups in found.items()}


def trained(run: PreparedRun, model: Any, one: Measurement) -> TrainedPolicy:
    """Train `model` in place; what is returned says how that went.

    Parameters
    ----------
    run : what steps 1 to 3 prepared
    model : a copy of the reference
    one : algorithm, sampling strategy, recipe; its folder holds the checkpoint in the meantime
    """
    if one.algorithm in PRESETS:
        loss = choose_loss(one.algorithm, kl_beta=one.kl_beta)
        algorithm: LossAlgorithm | Baseline = LossAlgorithm(one.algorithm, loss, one.strategy)
    else:
        algorithm = Baseline(one.algorithm)
    checkpoint = one.path.parent / "checkpoint"
    rmtree(checkpoint, ignore_errors=True)
    data, evaluate = flipped(run.data, one.flipped, one.seed), known_at_start(run, one.seed)
    told = one.path.parent / "tracked" / one.path.stem
    rmtree(told, ignore_errors=True)
    with reporting(run.options.report_to, told, one.path.stem, asdict(one.recipe)) as report:
        recipe, seed = one.recipe, one.seed
        found = train_policy(
            model, data, algorithm, lambda rows: recipe, seed, checkpoint, {}, evaluate, report=report
        )
    rmtree(checkpoint, ignore_errors=True)
    return found


def flipped(data: PolicyData, share: float, seed: int) -> PolicyData:
    """The same data with the logged reward r of a share of the rows replaced by max - r.

    Values of the prompts stay: they were learned from the reference's own responses, not from the log.

    Parameters
    ----------
    data : holds rows and advantages
    share : of the rows, 0..1, drawn at random
    seed : of the draw
    """
    if not share:
        return data
    drawn = np.random.default_rng([seed, 4]).permutation(len(data.rows))[: round(share * len(data.rows))]
    rows = list(data.rows)
    for i in drawn.tolist():
        wrong = {FINAL: data.task.max_reward - rows[i].reward}
        rows[i] = replace(rows[i], components=rows[i].components | wrong)
    found = data.advantages
    if found is not None:
        rewards = np.array([row.reward for row in rows], dtype=np.float32)
        found = replace(found, advantages=rewards - found.values)
    return replace(data, rows=rows, advantages=found)


def known_at_start(run: PreparedRun, seed: int) -> Evaluate:
    """Validation scores of a training; the reference's own, which comes first, is computed once per seed."""
    begun = False

    def score(model: Any) -> float:
        nonlocal begun
        if begun:
            return run.data.score(model, seed)
        begun = True
        if seed not in run.known:
            run.known[seed] = run.data.score(model, seed)
        return run.known[seed]

    return score


def evaluated(record: dict[str, Any]) -> Evaluated:
    """A kept policy as `aggregation` takes it.

    Parameters
    ----------
    record : what `measure` wrote
    """
    settings = tuple(record[name] for name in ("algorithm", "strategy"))
    settings += (0.9, *(record[name] for name in ("kl_beta", "learning_rate", "steps")))
    return Evaluated(settings, record["run"], record["seed"], record["scores"], {})
