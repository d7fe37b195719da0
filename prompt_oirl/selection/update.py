"""A selector learned anew from served logs: compared with the old one before it replaces it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import InputError
from prompt_oirl.io.model_cards import CARD
from prompt_oirl.selection.policy_value import policy_values, target_of
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import HEADER, saving, write
from prompt_oirl.selection.traffic import Traffic
from prompt_oirl.stats.metrics import format_interval
from prompt_oirl.stats.splits import HEADLINE_FOLDS, assign_folds

PREVIOUS = "previous"  # folder within a selector's


@dataclass(frozen=True)
class Update:
    """The selector learned from everything, and doubly robust values of the old one and the new one.

    `old` and `new` are value, low and high; `gain` is the new one's over the old one, paired. The new one is
    valued by selectors of the same kind that learned from the other folds.
    """

    selector: PromptSelector
    old: tuple[float, float, float]
    new: tuple[float, float, float]
    gain: tuple[float, float, float]
    notes: tuple[str, ...]

    @property
    def objection(self) -> str | None:
        """Why the new one should not replace the old one: it is shown to be worse (the interval of its gain
        lies below 0), or nothing is known; None if it may."""
        if np.isnan(self.gain[2]):
            return "too few answers tell what it gains"
        return "it is shown to be worse" if self.gain[2] < 0 else None

    def sentence(self) -> str:
        """What the new one gains."""
        return (
            f"old selector {format_interval(*self.old, signed=False)}, new one on questions that it did not "
            f"learn from {format_interval(*self.new, signed=False)}: "
            f"{format_interval(*self.gain, points=True)} points (doubly robust, 95 % intervals)"
        )


def learn_anew(old: PromptSelector, log: PromptLog, seed: int = 0, old_id: str | None = None) -> Update:
    """Fit a selector of the old one's settings to a log, and compare both on the log's traffic.

    Parameters
    ----------
    old : fitted
    log : everything to learn from; where it has propensities, the answers that have one are the traffic
    seed : of the folds
    old_id : version of the old one in the log; both are then compared on requests that it served, which it
    cannot have learned from

    Raises: InputError where the log teaches nothing, or cannot tell the value of either.
    """
    traffic = Traffic.of(log, seed, old_id)
    fresh = old.unfitted(embedder=shared_embedder(old.embedder, old.seed))
    n_groups = int(log.groups.max()) + 1
    folds = assign_folds(log.groups, min(HEADLINE_FOLDS, n_groups), seed)[log.groups]
    target = np.zeros_like(traffic.logged.rewards)
    for fold in range(int(folds.max()) + 1):
        mine = folds[traffic.question] == fold
        if mine.any():
            learned = fresh.unfitted().fit(log.select(np.flatnonzero(folds != fold)))
            target[mine] = target_of(traffic, learned)[mine]
    rows, notes = policy_values(traffic, [target_of(traffic, old), target])
    (first, second) = (row for row in rows if row["estimator"] == "dr")
    new = old.unfitted().fit(log)
    old_value, new_value = ((row["value"], row["low"], row["high"]) for row in (first, second))
    gain = second["difference"], second["difference_low"], second["difference_high"]
    return Update(new, old_value, new_value, gain, tuple(notes))


def replace_selector(new: PromptSelector, folder: Path) -> None:
    """Save a selector over an older one, which stays in the folder `PREVIOUS` within; one of the two is
    whole at every moment.

    Parameters
    ----------
    new : fitted
    folder : of the older one
    """
    if not (folder / HEADER).is_file():
        raise InputError(f"{folder} holds no selector to replace")
    with saving(folder):
        _keep(folder)
        write(new, folder)


def _keep(folder: Path) -> None:
    """Copy a selector into its folder `PREVIOUS`."""
    kept, part = folder / PREVIOUS, folder / f"{PREVIOUS}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for path in [*folder.glob("*.safetensors"), *folder.glob(CARD), folder / HEADER]:
        shutil.copy2(path, part)
    shutil.rmtree(kept, ignore_errors=True)
    part.rename(kept)
