"""The paper's claims about A-LoL on hh: steady over seeds, sparing with data, robust to flipped rewards.

All three are held to `reweighted_reward` on test, see hh_measures.py. Flips were trained with one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prompt_oirl.alol.evaluation.aggregation import Evaluated, interval
from prompt_oirl.alol.experiments.hh_policies import ALL_ROWS, CHOOSES
from prompt_oirl.alol.experiments.hh_results import Results
from prompt_oirl.alol.experiments.hh_settings import ALGORITHMS, NOISY
from prompt_oirl.reports.readme import markdown
from prompt_oirl.stats.metrics import format_interval

COLUMNS = ["claim", "algorithm", "flipped", "quantity", "against", "value", "ci_low", "ci_high", "trainings"]
A_LOL = tuple(name for name in ALGORITHMS if name.startswith("a_lol"))
RIVALS = {"dpo": ("dpo",), "pro": ("pro",), "dpo, dpo_ref_free and pro": ("dpo", "dpo_ref_free", "pro")}
Rows = list[dict[str, Any]]


def claim_rows(results: Results) -> Rows:
    """Rows of alol_hh_claims.csv, as far as the policies are there."""
    return [*steadiness(results), *efficiency(results), *robustness(results)]


def steadiness(results: Results) -> Rows:
    """Standard deviation over seeds of every algorithm, and that of A-LoL's variants over that of others.

    Intervals by the chi-squared and the F distribution, as for normal scores.
    """
    from scipy.stats import chi2, f

    found: Rows = []
    for name in ALGORITHMS:
        variance, degrees = spread(results, (name,))
        if degrees:
            ends = [np.sqrt(variance * degrees / chi2.ppf(p, degrees)) for p in (0.975, 0.025)]
            found.append(_row("steady", name, 0.0, "sd", "", (np.sqrt(variance), *ends, degrees + 1)))
    mine, degrees = spread(results, A_LOL)
    for rival, names in RIVALS.items():
        variance, freedom = spread(results, names)
        if degrees and freedom and variance > 0:
            ends = [np.sqrt(mine / variance / f.ppf(p, degrees, freedom)) for p in (0.975, 0.025)]
            ratio = (np.sqrt(mine / variance), *ends, degrees + freedom)
            found.append(_row("steady", "A-LoL's variants", 0.0, "sd ratio", rival, ratio))
    return found


def spread(results: Results, algorithms: Sequence[str]) -> tuple[float, int]:
    """Variance of the mean score over seeds, pooled over some algorithms, and its degrees of freedom."""
    squares, degrees = 0.0, 0
    for name in algorithms:
        means = np.array([np.mean(list(scores(one).values())) for one in results.of(name)])
        if len(means) > 1:
            squares += float(((means - means.mean()) ** 2).sum())
            degrees += len(means) - 1
    return squares / max(1, degrees), degrees


def efficiency(results: Results) -> Rows:
    """a_lol on rows of positive advantage minus a_lol on all chosen rows, at equal updates."""
    gaps = paired(results.of("a_lol"), results.of("a_lol", variant=ALL_ROWS))
    return [_row("sparing", "a_lol", 0.0, "difference", ALL_ROWS, measured(gaps))] if gaps else []


def robustness(results: Results) -> Rows:
    """Gain over the reference by share of flipped rewards, what the flips cost, and A-LoL's gain over wbc and
    dpo on the same flips."""
    found: Rows = []
    reference = results.of("reference")
    for name in NOISY:
        clean = [one for one in results.of(name) if one.seed == 0]
        for share in (0.0, *results.options.sizes.flipped):
            mine = results.of(name, flipped=share) if share else clean
            others = {"reference": reference} | ({"no flips": clean} if share else {})
            if name.startswith("a_lol"):
                others |= {rival: results.of(rival, flipped=share) for rival in ("wbc", "dpo")}
            for against, those in others.items():
                if gaps := paired(mine, those):
                    found.append(_row("robust", name, share, "difference", against, measured(gaps)))
    return found


def scores(one: Evaluated) -> dict[str, float]:
    """The score of each cluster of test dialogues."""
    return one.scores["all"][CHOOSES]


def paired(mine: Sequence[Evaluated], others: Sequence[Evaluated]) -> list[dict[str, float]]:
    """Differences by cluster, of the seeds that both have."""
    known = {one.seed: scores(one) for one in others}
    return [
        {cluster: value - known[one.seed][cluster] for cluster, value in scores(one).items()}
        for one in mine
        if one.seed in known
    ]


def measured(gaps: Sequence[dict[str, float]]) -> tuple[float, float, float, int]:
    """Mean, 95 % interval over seeds and clusters, and trainings."""
    return interval(["hh"] * len(gaps), gaps, few_seeds=True)[:4]


def _row(
    claim: str, algorithm: str, flipped: float, quantity: str, against: str, found: Sequence[float]
) -> dict[str, Any]:
    return dict(zip(COLUMNS, (claim, algorithm, flipped, quantity, against, *found)))


def verdict(row: dict[str, Any], even: float, words: tuple[str, str]) -> str:
    """Which of two words the row's interval shows, below or above `even`; neither if it holds that."""
    low, high = float(row["ci_low"]), float(row["ci_high"])
    if not (high < even or low > even):
        return "not shown"
    return words[1] if low > even else words[0]


def render_claims(rows: Rows) -> str:
    """One line per comparison that a claim needs, with what its interval shows."""
    lines = []
    for row in rows:
        if row["quantity"] == "sd ratio":
            what = f"steady: spread over seeds, A-LoL's four variants / {row['against']}"
            lines.append([what, shown(row), verdict(row, 1.0, ("confirmed", "the opposite"))])
        elif row["claim"] == "sparing":
            what = "sparing: `a_lol` on rows of positive advantage - on all chosen rows"
            lines.append([what, shown(row, True), verdict(row, 0.0, ("the opposite", "confirmed"))])
        elif row["flipped"] and row["against"] in ("wbc", "dpo"):
            what = f"robust: `{row['algorithm']}` - `{row['against']}`, {row['flipped']:.0%} flipped"
            lines.append([what, shown(row, True), verdict(row, 0.0, ("the opposite", "confirmed"))])
    return markdown(["claim and what is compared", "value", "shown"], lines)


def render_flips(rows: Rows) -> str:
    """Gain over the reference by algorithm and share of flipped rewards."""
    here = [r for r in rows if (r["claim"], r["against"]) == ("robust", "reference")]
    shares = sorted({r["flipped"] for r in here})
    cells = {(r["algorithm"], r["flipped"]): shown(r, True) for r in here}
    lines = [[f"`{name}`", *(cells.get((name, share), "") for share in shares)] for name in NOISY]
    return markdown(["algorithm", *(f"{share:.0%} flipped" for share in shares)], lines)


def shown(row: dict[str, Any], signed: bool = False) -> str:
    """Value and interval as text."""
    return format_interval(row["value"], row["ci_low"], row["ci_high"], signed=signed)
