"""What scikit-learn's pipelines and searches call on a `PromptSelector`, besides fit and score."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pandas as pd

from prompt_oirl.data.log_columns import segment_column
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.files import InputError
from prompt_oirl.io.tables import texts

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector

Selector = TypeVar("Selector", bound="ScikitLearn")


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
    """What scikit-learn needs of `PromptSelector`; to import its BaseEstimator takes a second."""

    @classmethod
    def _settings(cls) -> dict[str, Any]:
        """What the constructor takes, with its defaults."""
        return {name: given.default for name, given in inspect.signature(cls).parameters.items()}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name; `deep` changes nothing, for none has settings of its own."""
        return {name: getattr(self, name) for name in self._settings()}

    def set_params(self: Selector, **settings: Any) -> Selector:
        """Change settings; raises ValueError of a name that is none."""
        for name, value in settings.items():
            if name not in self._settings():
                raise ValueError(f"{name!r} is no setting: choose among {', '.join(self._settings())}")
            setattr(self, name, value)
        return self

    def unfitted(self: Selector, **settings: Any) -> Selector:
        """A new selector of the same settings but for those given, as scikit-learn's `clone` makes it."""
        new = {name: _clone(value) for name, value in self.get_params().items() if name not in settings}
        return type(self)(**new, **settings)

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._settings().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

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
        from sklearn.utils import InputTags, Tags, TargetTags

        inputs = InputTags(two_d_array=False, string=True)
        return Tags(estimator_type=None, target_tags=TargetTags(required=False), input_tags=inputs)


def _clone(setting: Any) -> Any:
    return setting.__sklearn_clone__() if hasattr(setting, "__sklearn_clone__") else copy.deepcopy(setting)
