"""How often a prompt is drawn at random while serving, and with what chance each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prompt_oirl.io.files import InputError

if TYPE_CHECKING:
    import numpy as np

ExploreBy = Literal["uniform", "uncertainty"]
TEMPERATURE = 0.1  # of exploration by uncertainty: prompts a few points behind the first may well be best


@dataclass(frozen=True)
class Exploration:
    """How often a prompt is drawn at random, and how it is drawn.

    Parameters
    ----------
    share : of the questions, 0 to 1
    by : uniform; or uncertainty: half of the share uniform, half in proportion to exp((r - max r) / 0.1) for
    the predicted successes r, so that prompts which may well be best are met more often

    Raises: InputError if the share is not 0 to 1.
    """

    share: float = 0.0
    by: ExploreBy = "uniform"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"--explore {self.share}: give the share of questions, 0 to 1")

    def chances(self, n_prompts: int, probabilities: np.ndarray | None) -> np.ndarray:
        """Chance of each prompt when one is drawn, float64 (K,).

        Parameters
        ----------
        n_prompts : K
        probabilities : predicted success (K,); None if unknown, and then the draw is uniform
        """
        import numpy as np

        uniform = np.full(n_prompts, 1 / n_prompts)
        if self.by == "uniform" or probabilities is None:
            return uniform
        likely = np.exp((probabilities - probabilities.max()) / TEMPERATURE)
        return (uniform + likely / likely.sum()) / 2
