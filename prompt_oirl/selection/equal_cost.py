"""A selector whose picks cost no more, on average, than the best single prompt: what it gains is not bought.

`evaluate(selector, log, learn=fit_at_equal_cost)` measures the gain at equal cost on unseen questions.
"""

from __future__ import annotations

import numpy as np

from prompt_oirl.data.arms import check_costs, costs_of
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.selector import PromptSelector

HALVINGS = 60  # of the interval in which the weight lies, so that it is exact
ROUNDING = 1e-9  # relative; the mean of equal costs may differ from them in the last bit


def fit_at_equal_cost(selector: PromptSelector, log: PromptLog) -> PromptSelector:
    """Fit a selector and set its cost weight to the smallest at which its picks cost no more than the prompt
    that is best in the log.

    The weight is chosen on the questions of `log`, each predicted by a selector that learned from other folds
    (their own predictions would be too sure of themselves). On new questions the picks may by chance cost a
    little more or less.

    Parameters
    ----------
    selector : changed; its cost weight before doesn't matter
    log : with costs, of at least two different questions

    Raises: InputError on a log that cannot be used, or whose costs are unknown.
    """
    check_costs(log.arms, log.prompt_cost)
    selector.set_params(cost_weight=0.0)
    predicted = evaluate(selector, log, seed=selector.seed).probabilities
    selector.fit(log)
    costs = costs_of(log.arms, selector.arms_, selector.cost_)
    budget = costs[log.arms.index(selector.arms_[selector.best_])] * (1 + ROUNDING)

    def within(weight: float) -> bool:
        picks = selector.set_params(cost_weight=weight).order(predicted, log.arms)[:, 0]
        return bool(costs[picks].mean() <= budget)

    different = np.diff(np.unique(costs))
    if within(0.0) or not len(different):
        return selector.set_params(cost_weight=0.0)
    low, high = 0.0, 2 / float(different.min())  # from there on no success makes up for any cost
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if within(middle) else (middle, high)
    return selector.set_params(cost_weight=high)
