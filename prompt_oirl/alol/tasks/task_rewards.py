"""Rewards of the published tasks: each component from its model, and their sum.

A run keeps in data/rewards.json which model gives which component, so that all its steps judge alike, and in
data/tfidf.json the word weights that were learned from its training responses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prompt_oirl.alol.rewards.scorers import Score
from prompt_oirl.alol.rows import FINAL, Row
from prompt_oirl.io import files
from prompt_oirl.io.arrays import load_array
from prompt_oirl.io.files import InputError, sha256_texts, write_json
from prompt_oirl.io.json_files import read_json

HINT = "run alol_step1_prepare_data.py again"
TFIDF = "tfidf.json"  # stands where a model's name would


@dataclass(frozen=True)
class Component:
    """One reward in 0..1. `load` takes a folder or hub id, `text` makes what the model reads of a row and a
    response."""

    name: str
    model: str
    load: Callable[[str], Score]
    text: Callable[[Row, str], Any]


@dataclass(frozen=True)
class Rewards:
    """Called with rows and responses to their prompts, gives each its components and their sum,
    `final_reward`."""

    components: tuple[Component, ...]
    folder: Path  # data/ of the run
    stops: tuple[str, ...] = ()  # a response is read up to the first of these
    ends: tuple[str, ...] = ("<|endoftext|>",)

    def __call__(
        self, rows: Sequence[Row], responses: Sequence[str], models: dict[str, str] | None = None
    ) -> list[dict[str, float]]:
        models = self.models() if models is None else models
        texts = [self.clean(text) for text in responses]
        found = {c.name: self.score(c, models[c.name], rows, texts) for c in self.components}
        return with_sum(found, len(rows))

    def models(self) -> dict[str, str]:
        """The model of each component, as this run's step 1 noted, or the published ones."""
        known = {c.name: c.model for c in self.components}
        path = self.folder / "rewards.json"
        if not path.is_file():
            return known
        noted = read_json(path, hint=HINT)
        if not isinstance(noted, dict) or set(noted) != set(known):
            raise InputError(f"{path}: not the reward models of {', '.join(known)}; {HINT}")
        return {name: str(model) for name, model in noted.items()}

    def replaced(self, flag: str | None, models: dict[str, str] | None = None) -> dict[str, str]:
        """The models (by default the published ones), with those of a flag `name=FOLDER_OR_HUB_ID,...` in
        their places."""
        models = dict(models or {c.name: c.model for c in self.components})
        for part in (flag or "").split(","):
            name, given, model = (text.strip() for text in part.partition("="))
            if not part.strip():
                continue
            if not given or not model or name not in models or models[name] == TFIDF:
                own = ", ".join(n for n, m in models.items() if m != TFIDF)
                raise InputError(
                    f"--reward_models {part.strip()!r}: give NAME=FOLDER_OR_HUB_ID, with one of {own}"
                )
            models[name] = model
        return models

    def clean(self, text: str) -> str:
        """A response as the reward models read it."""
        for stop in (*self.ends, *self.stops):
            text = text.split(stop, 1)[0]
        return text.strip()

    def score(
        self, component: Component, model: str, rows: Sequence[Row], texts: Sequence[str]
    ) -> np.ndarray:
        """One component of every response, float64 (n,); 0 for an empty one.

        Parameters
        ----------
        component : which
        model : folder or hub id of its model, or tfidf.json for the word weights of the run
        rows : n rows, whose prompts were answered
        texts : n responses as `clean` leaves them

        Raises: InputError if a score is not finite.
        """
        path = str(self.folder / TFIDF) if model == TFIDF else model
        said = [i for i, text in enumerate(texts) if text]
        found = np.zeros(len(texts))
        if said:
            found[said] = _loaded(component.load, path)([component.text(rows[i], texts[i]) for i in said])
        if not np.isfinite(found).all():
            raise InputError(
                f"the reward model {model!r} gave NaN: pass --reward_models {component.name}=ANOTHER"
            )
        return found

    def score_split(self, split: str, rows: Sequence[Row], models: dict[str, str]) -> list[dict[str, float]]:
        """Components of a split's own responses, each kept as it is done: a stopped run resumes from there.

        Parameters
        ----------
        split : its name, with which files in scores/ begin
        rows : n rows
        models : model of each component, see `Rewards.models`

        Returns: of each row its components and their sum, `final_reward`.
        Raises: InputError if a file of scores is damaged or not one score a row.
        """
        texts, found = [self.clean(row.response) for row in rows], {}
        for c in tqdm(self.components, desc=f"{split} rewards", disable=None):
            said = sha256_texts(t for row, text in zip(rows, texts) for t in (row.id, row.prompt, text))
            version = (
                sha256_texts([(self.folder / TFIDF).read_text(encoding="utf-8")])
                if models[c.name] == TFIDF
                else ""
            )
            key = files.content_key([said, models[c.name], version])
            path = self.folder / "scores" / f"{split}.{c.name}.{key}.npy"
            if not path.is_file():
                files.write_array(path, self.score(c, models[c.name], rows, texts))
            found[c.name] = load_array(path, hint="delete it and run step 1 again", ndim=1, dtype="f")
            if len(found[c.name]) != len(rows):
                raise InputError(f"{path}: not one score a row; delete it and run step 1 again")
        return with_sum(found, len(rows))


def with_sum(found: dict[str, np.ndarray], n: int) -> list[dict[str, float]]:
    """Components of n responses, each with their sum as `final_reward`."""
    total = np.sum(list(found.values()), axis=0)
    return [{name: float(v[i]) for name, v in found.items()} | {FINAL: float(total[i])} for i in range(n)]


@lru_cache(maxsize=8)
def _loaded(load: Callable[[str], Score], name: str) -> Score:
    return load(name)


# --- tf-idf: are the words of a response rare ones? ---------------------------------------------------------


def fit_tfidf(path: Path, responses: Sequence[str]) -> None:
    """Learn inverse document frequencies from the training responses and keep them as plain JSON."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        fitted = TfidfVectorizer().fit(responses)
    except ValueError as error:
        raise InputError(f"no words in the training responses ({error}); check the data files") from error
    words = fitted.get_feature_names_out().tolist()
    write_json(path, {"words": words, "idf": [float(x) for x in fitted.idf_]})


def load_tfidf(path: str) -> Score:
    """Mean tf-idf of the words of a response that are known, times their number / 10 where they are fewer
    than 5.

    As published: the factor jumps from .4 to 1 at five words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    table = read_json(Path(path), hint=HINT)
    try:
        reader = TfidfVectorizer(vocabulary=table["words"])
        reader.idf_ = np.array(table["idf"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a table of word weights; {HINT}") from error

    def score(texts: Sequence[Any]) -> np.ndarray:
        vectors = reader.transform(texts).tocsr()
        known = np.diff(vectors.indptr)
        mean = np.asarray(vectors.sum(1)).ravel() / np.maximum(known, 1)
        return mean * np.where(known < 5, known / 10, 1.0)

    return score
