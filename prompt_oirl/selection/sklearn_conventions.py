"""What scikit-learn's pipelines and searches call on a `PromptSelector`, besides fit and score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from prompt_oirl.data.log_columns import segment_column
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import texts

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector


def with_labels(log: Any, y: Any) -> Any:
    """A log as `read_log` takes it.

    Parameters
    ----------
    log : X of scikit-learn: a log, or a DataFrame of its rows
    y : the rows' column correct, which then counts in place of one that the frame has; None: it has it

    Raises: InputError if y is of something else than these rows.
    """
    if y is None:
        return log
    if not isinstance(log, pd.DataFrame):
        raise InputError(f"y goes with a DataFrame of answers, not with {type(log).__name__}: leave it out")
    labels = np.asarray(y)
    if labels.shape != (len(log),):
        raise InputError(f"y has shape {labels.shape}, expected ({len(log)},): one number per row of the log")
    return log.assign(correct=labels)


class ScikitLearn:
    """The part of `PromptSelector` that speaks to scikit-learn."""

    def predict(self, X: Sequence[str] | pd.DataFrame | PromptLog) -> np.ndarray:
        """`select`, as pipelines and `cross_val_predict` call it: the best prompt of each, object (n,).

        Parameters
        ----------
        X : n questions, or what holds them: a log, or a DataFrame with a column question
        """
        selector = cast("PromptSelector", self)
        if isinstance(X, PromptLog):
            return selector.select(X.questions, segments=X.segments)
        if isinstance(X, pd.DataFrame):
            segments = segment_column(X, "X:") if "segment" in X else None
            return selector.select(texts(X, "question", "X:"), segments=segments)
        return selector.select(X)

    def __sklearn_tags__(self) -> Any:
        """Texts come in, not an array of numbers; so there are no features to count (`n_features_in_`)."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags
