"""The hh experiment: how large, which algorithms, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.alol.rows import Limits
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.io.files import REPO_ROOT, Paths
from prompt_oirl.io.tracking import Tracker

PAIRED = ("dpo", "dpo_ref_free", "pro")
ALGORITHMS = (*PRESETS, *PAIRED)
NOISY = ("wbc", "a_lol", "a_lol_ref_free", "dpo")  # tried with flipped rewards; nll reads none
KL_BETA = 0.1  # of a_lol_kl
LORA_RANK = 16


@dataclass(frozen=True)
class Sizes:
    """How much of everything. Prompts and responses in tokens, all others as their names say."""

    train_pairs: int = 240
    dev_pairs: int = 24  # that choose the learning rate; half have the longer response as the better one
    test_pairs: int = 80  # the same
    value_dialogues: int = 240  # that V is fitted on; two logged rewards each
    prompt: int = 128
    response: int = 96
    reference_updates: int = 24
    reference_rate: float = 3e-4
    updates: int = 24
    rows: int = 4  # of an update; a pair counts two
    validations: int = 2  # of the runs that choose the rate
    rates: tuple[float, ...] = (3e-4, 1e-3)
    seeds: int = 3
    flipped: tuple[float, ...] = (0.1, 0.3, 0.5)
    sampled: int = 24  # test prompts answered by each policy
    sampled_tokens: int = 48

    @property
    def limits(self) -> Limits:
        """Of every row; longer responses were left out."""
        return Limits(self.prompt, self.response)


FULL = Sizes()
SMALL = Sizes(
    train_pairs=12,
    dev_pairs=2,
    test_pairs=4,
    value_dialogues=16,
    prompt=48,
    response=24,
    reference_updates=1,
    updates=2,
    rows=2,
    validations=1,
    rates=(3e-4,),
    seeds=1,
    flipped=(0.5,),
    sampled=2,
    sampled_tokens=8,
)


@dataclass
class HHOptions:
    """How `make alol-hh` is run."""

    small: bool = False
    """A handful of rows and updates, one seed: minutes. Its tables stay beside its results."""
    jobs: int = 2
    """Policies trained at the same time, each in a process with one thread."""
    tables_only: bool = False
    """Train nothing; tables of what is finished."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are told every update: tensorboard, wandb, mlflow, one or several; or none."""
    root: Path = REPO_ROOT
    """Folder that holds data/, results/ and docs/."""

    @property
    def sizes(self) -> Sizes:
        """Full or small."""
        return SMALL if self.small else FULL

    @property
    def folder(self) -> Path:
        """Rows, reference, value head, policies and what was measured of them."""
        return self.root / "results" / "alol" / ("measured_hh_small" if self.small else "measured_hh")

    @property
    def tables(self) -> Path:
        """Where the tables and figures go."""
        return self.folder / "tables" if self.small else self.root / "results" / "reference"

    @property
    def fetched(self) -> Path:
        """The files of others."""
        return Paths(self.root).fetched

    def rows_file(self, split: str) -> Path:
        """Rows of train, value, dev or test, two by two."""
        return self.folder / "rows" / f"{split}.jsonl"

    def measured_file(self, name: str) -> Path:
        """What was measured of a policy on test."""
        return self.folder / "measured" / f"{name}.json"
