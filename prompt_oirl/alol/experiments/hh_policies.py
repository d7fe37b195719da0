"""The policies of the hh experiment: which there are, and how workers train and measure them.

Every policy is a file, so a stopped run resumes. Workers take the next one that nobody works on; a lock ends
with its process. First each algorithm is trained at every learning rate of one grid with seed 0; the rate
with the highest `reweighted_reward` on dev is then used with all seeds and all flipped rewards.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from filelock import FileLock, Timeout

from prompt_oirl.alol.evaluation.responses import answer
from prompt_oirl.alol.experiments import hh_setup
from prompt_oirl.alol.experiments.hh_likelihoods import pair_log_probs
from prompt_oirl.alol.experiments.hh_measures import lengths_of, pair_metrics
from prompt_oirl.alol.experiments.hh_settings import (
    ALGORITHMS,
    KL_BETA,
    NOISY,
    PAIRED,
    HHOptions,
)
from prompt_oirl.alol.experiments.hh_setup import HINT, HHRun
from prompt_oirl.alol.models.checkpoints import save_model
from prompt_oirl.alol.policies import Baseline, LossAlgorithm, train_policy
from prompt_oirl.alol.rows import Limits
from prompt_oirl.alol.training.losses import choose_loss
from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.peak_memory import peak_megabytes, restart_peak
from prompt_oirl.io.tracking import reporting
from prompt_oirl.pipeline.workers import end_with

CHOOSES = "reweighted_reward"
ALL_ROWS = "all rows"


@dataclass(frozen=True)
class Job:
    """A policy to train. `rate` None: the one that dev has chosen, and the policy is measured on test.

    variant : `all rows` draws all chosen rows evenly, also those that an advantage of 0 or less makes idle.
    flipped : share of the training pairs whose rewards are exchanged.
    """

    algorithm: str
    seed: int = 0
    rate: float | None = None
    flipped: float = 0.0
    variant: str = ""

    @property
    def name(self) -> str:
        """Of its files."""
        flipped = f"flipped{100 * self.flipped:.0f}" if self.flipped else ""
        rate = "" if self.rate is None else f"rate{self.rate:g}"
        parts = (self.algorithm, self.variant.replace(" ", "_"), flipped, f"seed{self.seed}", rate)
        return "-".join(filter(None, parts))


def jobs_of(options: HHOptions) -> list[Job]:
    """All policies, in the order in which they are trained."""
    sizes = options.sizes
    found = [Job("reference")]
    found += [Job(name, rate=rate) for name in ALGORITHMS for rate in sizes.rates]
    for seed in range(sizes.seeds):
        found += [Job(name, seed) for name in ALGORITHMS]
    found += [Job("a_lol", seed, variant=ALL_ROWS) for seed in range(sizes.seeds)]
    found += [Job(name, flipped=share) for share in sizes.flipped for name in NOISY]
    return found


def work(options: HHOptions, base: Path, parent: int) -> None:
    """Train and measure policies until all are done; ends when the process `parent` does."""
    if os.getpid() != parent:
        end_with(parent)
    torch.set_num_threads(1)
    run, jobs = hh_setup.load_run(options, base), jobs_of(options)
    while pending := [job for job in jobs if not result_file(options, job).is_file()]:
        if not any(_tried(run, job) for job in pending):
            time.sleep(2)  # others train what these wait for


def result_file(options: HHOptions, job: Job) -> Path:
    """What is there when a job is finished."""
    if job.rate is None:
        return options.measured_file(job.name)
    return options.folder / "trained" / job.name / "training.json"


def _tried(run: HHRun, job: Job) -> bool:
    """Do a job, unless another worker does or a rate must be chosen first; whether it was done."""
    rate = job.rate if job.rate is not None else chosen_rate(run.options, job.algorithm)
    if rate is None and job.algorithm != "reference":
        return False
    with _claimed(run.options.folder / "locks" / job.name) as mine:
        if not mine or result_file(run.options, job).is_file():
            return False
        began = time.monotonic()
        if job.rate is not None:
            train(run, job, job.rate)
        else:
            measure(run, job, rate)
        print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)
    return True


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone holds the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def chosen_rate(options: HHOptions, algorithm: str) -> float | None:
    """The rate with the best dev score, the smallest of equals; None while one is missing."""
    found = {}
    for rate in options.sizes.rates:
        path = result_file(options, Job(algorithm, rate=rate))
        if not path.is_file():
            return None
        found[rate] = read_json(path, hint=HINT)["dev"][-1][1]
    return max(found, key=lambda rate: (found[rate], -rate))


@dataclass
class DevScores:
    """Validation of a run on the dev pairs that keeps the last weights, so that updates are equal for all."""

    run: HHRun
    every: int
    reference: Any
    seconds: float = 0.0
    scores: list[tuple[int, float]] = field(default_factory=list)
    calls: int = 0

    def __call__(self, model: Any) -> float:
        """Note the score; returns how many there were, so that the last weights count as the best."""
        began = time.process_time()
        found = self.reference
        if self.calls:
            found = pair_log_probs(model, self.run.dev_tokens, self.run.data.tokenizer.pad_token_id)
        lengths = lengths_of(self.run.dev_tokens)
        score = pair_metrics(found, self.reference, self.run.dev, lengths)[CHOOSES].mean()
        self.scores.append((self.calls * self.every, float(score)))
        self.calls += 1
        self.seconds += time.process_time() - began
        return float(self.calls)


def train(run: HHRun, job: Job, rate: float) -> Path:
    """Train a policy unless it is there; returns its folder with model/ and training.json.

    Parameters
    ----------
    run : the experiment
    job : the policy
    rate : its learning rate
    """
    options, sizes = run.options, run.options.sizes
    at_rate = Job(job.algorithm, job.seed, rate, job.flipped, job.variant)
    folder = options.folder / "trained" / at_rate.name
    if (folder / "training.json").is_file():
        return folder
    data = run.data
    if job.flipped and data.advantages is not None:
        rows, found = hh_setup.flipped(data.advantages, data.rows, job.flipped)
        data = copy.copy(data)
        data.rows, data.advantages = rows, found
    every = sizes.updates // sizes.validations if job.rate is not None else 0
    paired = job.algorithm in PAIRED
    recipe = hh_setup.recipe_of(options, rate, sizes.updates, job.seed, paired=paired, eval_every=every)
    dev = DevScores(run, every, reference_on_dev(run)) if every else None
    model = copy.deepcopy(run.model)
    rmtree(folder / "training", ignore_errors=True)  # of a killed run, whose dev scores are lost
    restart_peak()
    began = time.process_time()
    try:
        told = options.folder / "tracked" / at_rate.name
        rmtree(told, ignore_errors=True)
        with reporting(options.report_to, told, f"hh {at_rate.name}", asdict(recipe)) as report:
            method, training = algorithm_of(job), folder / "training"
            done = train_policy(
                model, data, method, lambda n: recipe, job.seed, training, evaluate=dev, report=report
            )
        curve, failed = done.curve, ""
        save_model(folder / "model", done.model, data.tokenizer)
        rmtree(folder / "training")
    except InputError as error:  # a rate at which the loss is no number
        if job.rate is None:
            raise
        curve, failed = [], str(error)
    seconds = time.process_time() - began - (dev.seconds if dev else 0)
    about = {"algorithm": job.algorithm, "seed": job.seed, "rate": rate, "failed": failed, "curve": curve}
    about |= {"dev": dev.scores if dev else [], "seconds_per_update": seconds / sizes.updates}
    if failed:
        about["dev"] = [(sizes.updates, -1.0)]
    about["peak_mb"] = peak_megabytes()
    write_json(folder / "training.json", about)
    return folder


def algorithm_of(job: Job) -> LossAlgorithm | Baseline:
    """What trains a policy: nll draws all chosen rows evenly, the other losses by weight, as published. Pairs
    prefer the higher logged reward, which is what all others learn from."""
    if job.algorithm in PAIRED:
        return Baseline(job.algorithm, pairs="reward")
    loss = choose_loss(job.algorithm, kl_beta=KL_BETA if job.algorithm == "a_lol_kl" else 0.0)
    evenly = job.algorithm == "nll" or job.variant == ALL_ROWS
    return LossAlgorithm(job.algorithm, loss, "none" if evenly else "good_priority")


def reference_on_dev(run: HHRun) -> Any:
    """Log-probabilities of the dev pairs under the reference, computed once a process."""
    if run.dev_reference is None:
        run.dev_reference = pair_log_probs(run.model, run.dev_tokens, run.data.tokenizer.pad_token_id)
    return run.dev_reference


def measure(run: HHRun, job: Job, rate: float | None) -> None:
    """Likelihoods of the test pairs and some sampled responses of a policy, as its JSON file.

    Parameters
    ----------
    run : the experiment
    job : the policy, trained first where it is not there
    rate : its learning rate; None for the reference
    """
    from peft import PeftModel

    options, sizes, tokenizer = run.options, run.options.sizes, run.data.tokenizer
    model, about = run.model, {"algorithm": job.algorithm, "seed": job.seed}
    if rate is not None:
        folder = train(run, job, rate)
        model = PeftModel.from_pretrained(copy.deepcopy(run.model), folder / "model").eval()
        about |= read_json(folder / "training.json", hint=HINT)
    about |= {"variant": job.variant, "flipped": job.flipped}
    pairs = pair_log_probs(model, run.test_tokens, tokenizer.pad_token_id)
    said: list[list[str]] = []
    if not job.flipped and not job.variant:
        asked = run.test[: 2 * sizes.sampled : 2]
        limits = Limits(sizes.prompt, sizes.sampled_tokens, "cut")
        said = answer(run.data.task, model, tokenizer, asked, limits, 20, job.seed)
    about |= {"lengths": lengths_of(run.test_tokens).tolist()}
    about |= {"log_probs": pairs.tolist(), "samples": [texts[0] for texts in said]}
    write_json(options.measured_file(job.name), about)
