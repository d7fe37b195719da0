"""Flags that the steps of A-LoL share, with the published scripts' spellings as aliases, and where files
lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from prompt_oirl.alol.models.checkpoints import ModelSource
from prompt_oirl.alol.rows import Limits, Row, check_at_least, read_rows
from prompt_oirl.alol.tasks import arith_log
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.alol.tasks.task import Passes, Settings, Task
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, check_folder_name, sha256
from prompt_oirl.io.manifest import Manifest, check_finished
from prompt_oirl.io.tracking import Tracker

SPLITS = ("train", "validation", "test")
UNSEEN = ("root", "force", "eval_batch_size", "report_to")  # flags that cannot change a result


def check_policy_name(flag: str, name: str) -> None:
    """Refuse a policy's name that is no folder's, or that step 5 could not be told."""
    check_folder_name(flag, name)
    if name in ("all", "reference") or "," in name:
        raise InputError(f"{flag} {name}: give another name, without commas and not `all` or `reference`")


@dataclass
class RunOptions:
    """Which task, and where its files are kept: alol_exps/<task>/<run>/."""

    task_name: Annotated[str, arg(aliases=["-tn"])] = "toy"
    """toy, arith, prompt_writer, hh, comet, reddit_pos, reddit_neg, wow, faithdial or faithdial_wow."""
    run: str = "main"
    """Folder of this run: data, reference and advantages that its policies share."""
    seed: Annotated[int, arg(aliases=["-seed"])] = 0
    """Seed of everything random in this step."""
    eval_batch_size: Annotated[
        int, arg(aliases=["-v_bs", "--val_batch_size", "--per_device_eval_batch_size"])
    ] = 128
    """Rows at once without gradients."""
    root: Path = REPO_ROOT
    """Folder that holds data/, alol_exps/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""

    @cached_property
    def task(self) -> Task:
        """The task, rewarded as this run's step 1 noted; flags without a meaning are refused."""
        check_folder_name("--run", self.run)
        check_at_least(0, seed=self.seed)
        check_at_least(1, eval_batch_size=self.eval_batch_size)
        return get_task(self.task_name, self.folder / "data")

    def policy_folder(self, name: str) -> Path:
        """Where step 4 puts a policy."""
        check_policy_name("--policy", name)
        return self.folder / "policies" / name

    @cached_property
    def folder(self) -> Path:
        """Folder of the run: data/, reference/, advantages/ and policies/."""
        return self.root / "alol_exps" / get_task(self.task_name).name / self.run

    @property
    def results(self) -> Path:
        """Folder of the run's evaluations, one below it for each policy."""
        return self.root / "results" / "alol" / self.task.name / self.run

    @property
    def learned_files(self) -> list[Path]:
        """Rows that steps 2 to 4 read."""
        return [self.data_file("train"), self.data_file("validation")]

    def data_file(self, split: str) -> Path:
        """Rows of a split: train, validation or test."""
        return self.folder / "data" / f"{split}.jsonl"

    def base_model(self, given: str | None) -> str:
        """What step 2 begins with: the model given, the one step 1 made, or the task's."""
        made, base = self.folder / "model", self.task.base_model
        if given or made.is_dir():
            return given or str(made)
        if base is None:
            raise InputError(
                f"--model_name_or_path is missing: a folder or hub id to begin {self.task_name} with"
            )
        return str(self.root / base) if (self.root / base).is_dir() else base

    def rows(self, split: str) -> list[Row]:
        """Rows of a split, read and checked."""
        return read_rows(self.data_file(split), self.task.name, self.task.max_reward, self.task.needs)

    def pending(
        self, manifest: Path, inputs: Sequence[Path], name: str, place: Path, **more: Any
    ) -> Manifest | None:
        """The manifest of a step's run on these inputs, or None (and a word) if all is up to date.

        Parameters
        ----------
        manifest : JSON file of the step
        inputs : files that the step reads
        name, place : what is up to date and where it is, for the word that is printed
        more : arguments of the manifest besides the flags

        Raises: InputError if an input is missing.
        """
        found = Manifest(manifest, self.arguments(**more), inputs, self.root)
        if found.is_current() and not self.force:
            print(f"{name}: up to date ({place})")
            return None
        return found

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What a manifest compares: the flags, but for those that cannot change a result."""
        flags = {k: v for k, v in asdict(self).items() if k not in UNSEEN}
        return flags | {"judged_by": self.judged_by} | more

    @property
    def judged_by(self) -> list[str]:
        """Hashes of what step 1 left to judge responses with: not all of it shows in the rows."""
        judges = (self.folder / "data" / name for name in ("rewards.json", "tfidf.json", "judge/judge.json"))
        return [sha256(path) for path in judges if path.is_file()]


@dataclass
class PolicyModelOptions(RunOptions):
    """Which model a step begins with."""

    model_name_or_path: Annotated[str | None, arg(aliases=["-m", "--model_name"])] = None
    """Folder or hub id; by default the reference of step 2, or for arith data/nano_llama."""
    adapter_path: str | None = None
    """LoRA adapter to put on it, a folder or hub id."""
    load_in_4bit: bool = False
    """Hold the frozen weights in 4 bits (NF4, bitsandbytes)."""

    @property
    def reference(self) -> ModelSource:
        """The frozen policy: the one given, the one step 2 trained, or the model that answered the log."""
        trained = self.folder / "reference"
        if self.model_name_or_path:
            name = self.model_name_or_path
        elif trained.is_dir():
            check_finished(self.folder / "step2.json", self.root, "run alol_step2_train_reference.py again")
            name = str(trained)
        elif self.task.name == arith_log.TASK.name:
            name = str(arith_log.model_folder(Paths(self.root)))
        else:
            raise InputError(f"missing {trained}: run alol_step2_train_reference.py")
        return ModelSource(name, self.adapter_path, self.load_in_4bit)


@dataclass
class LengthOptions:
    """Token limits; by default the task's."""

    max_prompt_length: int | None = None
    """Tokens of a prompt; its beginning is cut off."""
    max_response_length: Annotated[int | None, arg(aliases=["-ml", "--max_resp_length"])] = None
    """Tokens of a response with its end of text."""
    long_responses: Literal["refuse", "cut"] | None = None
    """What becomes of responses beyond the limit; the published tasks cut them."""

    def limits(self, task: Task) -> Limits:
        """Token limits: the flags', or the task's."""
        return Limits(
            task.max_prompt_length if self.max_prompt_length is None else self.max_prompt_length,
            task.max_response_length if self.max_response_length is None else self.max_response_length,
            task.long_responses if self.long_responses is None else self.long_responses,
            task.special_tokens,
        )


@dataclass
class TrainingOptions:
    """How a model is trained; settings left out are the task's."""

    max_steps: Annotated[int | None, arg(aliases=["--steps"])] = None
    """Updates."""
    num_train_epochs: Annotated[float | None, arg(aliases=["-e", "--n_epochs"])] = None
    """Updates as passes over the training rows, instead of --max_steps."""
    batch_size: Annotated[int | None, arg(aliases=["-bs", "--per_device_train_batch_size"])] = None
    """Rows at once."""
    accumulation: Annotated[
        int | None, arg(aliases=["-as", "--accumulation_steps", "--gradient_accumulation_steps"])
    ] = None
    """Batches per update."""
    learning_rate: Annotated[float | None, arg(aliases=["-lr"])] = None
    """Largest learning rate."""
    schedule: Annotated[Literal["linear", "constant"] | None, arg(aliases=["--lr_scheduler_type"])] = None
    """Course of the learning rate after the warm-up."""
    warmup: Annotated[int, arg(aliases=["--warmup_steps"])] = 0
    """Updates of warm-up."""
    weight_decay: float | None = None
    """AdamW's."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this norm; 0: never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrix products in bfloat16 (autocast); step 3 must have had the same."""
    tuning: Literal["full", "lora"] = "full"
    """All weights, or a LoRA adapter; with --load_in_4bit that is QLoRA."""
    lora_rank: Annotated[int | None, arg(aliases=["--lora_r"])] = None
    """Rank of a new adapter."""
    lora_alpha: float | None = None
    """Its scale is this over the rank."""
    lora_dropout: float | None = None
    """Dropout of what enters a new adapter while it is trained. With it, ratios begin only near one."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    eval_every: Annotated[int | None, arg(aliases=["--eval_steps"])] = None
    """Updates between validations; the best validated weights are kept. 0: no validation, the last
    weights."""
    validations_per_epoch: Annotated[float | None, arg(aliases=["-vf", "--val_log_frequency"])] = None
    """Validations per pass over the training rows, instead of --eval_every."""
    train: Annotated[bool, arg(aliases=["-t"])] = False
    """Accepted from published commands: this step always trains."""
    eval_in_beginning: Annotated[bool, arg(aliases=["-ev_b"])] = False
    """Accepted from published commands: where policies are validated, the untrained one always is."""
    patience: int = 0
    """Validations without a better score that end training; 0: none do."""
    save_every: Annotated[int, arg(aliases=["--save_steps"])] = 100
    """Updates between checkpoints."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are told every update: tensorboard, wandb, mlflow, one or several; or none."""

    def recipe(self, usual: Settings, rows: int, seed: int) -> TrainingRecipe:
        """The recipe: the flags, and the task's settings where a flag is left out.

        Parameters
        ----------
        usual : the task's settings, of which steps, rate and validations are read, not the reference's.
        rows : training rows (or pairs) that one pass goes through.
        seed : of everything random.

        Raises: InputError on flags that contradict each other or are out of range.
        """
        names = [f.name for f in fields(TrainingRecipe)]
        flags = {name: getattr(usual, name) for name in names if hasattr(usual, name)}
        flags |= {"learning_rate": usual.rate, "seed": seed}
        flags |= {n: v for n in names if (v := getattr(self, n, None)) is not None and n != "seed"}
        per_pass = rows / max(1, flags["batch_size"] * flags["accumulation"])
        steps = usual.steps
        if self.num_train_epochs is not None:
            if self.max_steps is not None or not 0 < self.num_train_epochs < 1e6:
                raise InputError(f"--num_train_epochs {self.num_train_epochs}: give it alone, and above 0")
            steps = Passes(self.num_train_epochs)
        elif self.max_steps is not None:
            steps = self.max_steps
        if isinstance(steps, Passes):
            steps = math.ceil(steps.times * per_pass)
        every = max(1, steps // usual.validations) if usual.validations else 0
        if self.validations_per_epoch is not None:
            if self.eval_every is not None or not self.validations_per_epoch > 0:
                raise InputError("--validations_per_epoch: give it above 0, and without --eval_every")
            every = max(1, round(per_pass / self.validations_per_epoch))
        elif self.eval_every is not None:
            every = self.eval_every
        return TrainingRecipe(**flags | {"steps": steps, "eval_every": every})
