"""Which reward-model fits the flags of steps 4 and 5 ask for.

A fit is one (dataset, split, prompt subset, model, variant).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import InputError, Paths
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.fit_data import VARIANTS
from prompt_oirl.reward_models import ModelName
from prompt_oirl.stats.splits import HEADLINE_FOLDS, SUBSET_FOLDS, Split, prompt_subsets, subset_name

PROTOCOLS = ("paper", "crossfit")


@dataclass(frozen=True)
class FitSpec:
    """One reward model to train. `group` is paper, crossfit (all prompts) or crossfit2 (subsets)."""

    llm: str
    dataset: str
    group: str
    split: str
    subset: tuple[int, ...]
    model: str
    preset: str
    variant: str = "both"
    seed: int = 0

    @property
    def stem(self) -> str:
        """Name of the model file and the record, without ending."""
        parts = [self.dataset, self.model, subset_name(self.subset), self.split]
        parts += [self.preset] * (self.preset != "fast") + [self.variant] * (self.variant != "both")
        parts += [f"seed{self.seed}"] * bool(self.seed)
        return "_".join(parts)


@dataclass
class Plan:
    """The flags that steps 4 and 5 share; from the same flags both make the same plan."""

    llm: str = LLM
    """Whose log."""
    model: ModelName = "xgboost"
    """Reward model."""
    preset: Literal["fast", "paper"] = "fast"
    """paper: XGBoost at depth 10, eta 0.001, 2000 rounds on the plain embeddings, as published."""
    split: Literal["both", "paper", "crossfit"] = "both"
    """Protocol: the published row split, cross-fitting by cluster, or both."""
    subsets: str = "all"
    """Sizes K of the prompt subsets: all, or a comma list such as 1,2,6."""
    assignments: int = 1
    """Random fold assignments for the five folds with all prompts (at most 50); each has its own seed."""
    seed: int = 0
    """Seed of the reward models, in step 5 of tie-breaking and of the bootstrap as well."""

    def __post_init__(self) -> None:
        if not 1 <= self.assignments <= offline_dataset.ASSIGNMENTS:
            raise InputError(f"--assignments {self.assignments}: choose 1 to {offline_dataset.ASSIGNMENTS}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: give 0 or more")

    @property
    def suffix(self) -> str:
        """Ending of result folders: nothing for the defaults, so other models never overwrite them."""
        named: list[str] = [self.model] * (self.model != "xgboost") + [self.preset] * (self.preset != "fast")
        named += [f"x{self.assignments}"] * (self.assignments != 1) + [f"seed{self.seed}"] * bool(self.seed)
        return "".join(f"_{part}" for part in named)

    def settings(self) -> dict[str, Any]:
        """The shared flags alone, without those that a step adds."""
        return {field.name: getattr(self, field.name) for field in fields(Plan)}

    def groups(self) -> list[str]:
        """Protocols asked for."""
        if self.split not in (*PROTOCOLS, "both"):
            raise InputError(f"--split {self.split}: choose paper, crossfit or both")
        return [p for p in PROTOCOLS if self.split in (p, "both")]

    def sizes(self, n_prompts: int) -> list[int]:
        """Subset sizes K named by `--subsets all|1,2,6`."""
        try:
            named = range(1, n_prompts + 1) if self.subsets == "all" else map(int, self.subsets.split(","))
            sizes = sorted(set(named))
        except ValueError:
            raise InputError(
                f"--subsets {self.subsets}: give all, or sizes such as 1,2,{n_prompts}"
            ) from None
        if not sizes or sizes[0] < 1 or sizes[-1] > n_prompts:
            raise InputError(
                f"--subsets {self.subsets}: sizes run from 1 to {n_prompts}, the number of training prompts"
            )
        return sizes

    def fits(self, names: offline_dataset.DatasetIndex) -> Iterator[FitSpec]:
        """All fits of one dataset: every asked subset on the paper split and on two folds; all prompts on
        five folds (times assignments), with the sanity variants."""
        n_prompts = len(names.train_prompts)
        sizes = self.sizes(n_prompts)
        everything = tuple(range(n_prompts))
        subsets = [s for s in prompt_subsets(n_prompts) if len(s) in sizes]

        def fit(
            group: str, split: str, subset: tuple[int, ...], variant: str = "both", assignment: int = 0
        ) -> FitSpec:
            llm, dataset, model, preset = self.llm, names.dataset, self.model, self.preset
            seed = self.seed + assignment
            return FitSpec(llm, dataset, group, split, subset, model, preset, variant, seed)

        # The sanity checks are about the protocol, so one model and one assignment carry them.
        variants = VARIANTS if self.model == "xgboost" and self.assignments == 1 else VARIANTS[:1]
        for group in self.groups():
            if group == "paper":
                yield from (
                    fit("paper", "paper", s, v)
                    for s in subsets
                    for v in (variants if s == everything else VARIANTS[:1])
                )
                continue
            if everything in subsets:
                for assignment in range(self.assignments):
                    for split in names.crossfit_splits(HEADLINE_FOLDS, assignment):
                        yield from (fit("crossfit", split.name, everything, v, assignment) for v in variants)
            if any(len(s) < n_prompts for s in subsets):
                for split in names.crossfit_splits(SUBSET_FOLDS, 0):
                    yield from (fit("crossfit2", split.name, s) for s in subsets)


def splits_by_name(names: offline_dataset.DatasetIndex, assignments: int) -> dict[str, Split]:
    """Every split that a fit of the plan may name."""
    return {split.name: split for split in offline_dataset.all_splits(names, assignments)}


def prepared_datasets(llm: str, flag: str, paths: Paths, hint: str) -> list[str]:
    """Datasets that `--dataset` names among those of an LLM that went through step 3.

    Parameters
    ----------
    flag : all, or a comma list
    hint : what to run if a dataset is not there, for the error
    """
    settings = sorted(paths.labels(llm).glob("*_settings.csv"))
    known = [path.name.removesuffix("_settings.csv") for path in settings]
    return offline_dataset.parse_datasets(flag, known, hint)
