"""Choosing among LLMs too: each pair of a prompt and an LLM that it was asked of is an arm, chosen as a
prompt is. Where there is one LLM only, the texts of the prompts stand for themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.tables import check_text, is_empty

PROMPT, PROMPT_AND_LLM = ("prompt",), ("prompt", "llm")  # columns of a log whose values make an arm


@dataclass(frozen=True)
class Arm:
    """A prompt asked of an LLM."""

    prompt: str
    llm: str

    def __str__(self) -> str:
        return f"{self.prompt} on {self.llm}"


Choices: TypeAlias = Sequence[str | Arm]  # what can be chosen: texts of prompts, or arms


def arms_of(prompts: Sequence[str], llms: Sequence[str] | None) -> Choices:
    """Prompts with the LLM of each as arms; without LLMs, the prompts themselves."""
    return prompts if llms is None else [Arm(text, llm) for text, llm in zip(prompts, llms)]


def prompt_of(choice: str | Arm) -> str:
    """The text of the prompt."""
    return choice.prompt if isinstance(choice, Arm) else choice


def llm_of(choice: str | Arm) -> str | None:
    """The LLM; None where only prompts are chosen among."""
    return choice.llm if isinstance(choice, Arm) else None


def checked_choices(items: Any, what: str, kind: type[str] | type[Arm]) -> list[Any]:
    """Texts, or arms, as a list.

    Parameters
    ----------
    items : what was given for them
    what : its name, the beginning of a complaint
    kind : str, or Arm where LLMs are chosen among

    Raises: InputError where something else stands among them.
    """
    if isinstance(items, str | bytes | Mapping | pd.DataFrame):
        raise InputError(f"{what}: give a list of texts, not one {type(items).__name__}")
    checked = list(items)
    for i, item in enumerate(checked):
        if not isinstance(item, kind):
            expected = "text" if kind is str else "an Arm: this selector chooses the LLM too"
            raise InputError(f"{what}[{i}] is {type(item).__name__}, expected {expected}")
        check_text(prompt_of(item), f"{what}[{i}]")
    return checked


def on_llms(prompts: Sequence[str], logged: Choices) -> Choices:
    """Texts as arms: a logged prompt on the LLMs that it was asked of, a new one on every logged LLM.

    Parameters
    ----------
    prompts : texts
    logged : what the log chose among; where these are texts, `prompts` stay as they are
    """
    arms = [choice for choice in logged if isinstance(choice, Arm)]
    if not arms:
        return prompts
    found: list[Arm] = []
    for text in prompts:
        new = [Arm(text, llm) for llm in dict.fromkeys(arm.llm for arm in arms)]
        found += [arm for arm in arms if arm.prompt == text] or new
    return found


def check_costs(logged: Choices, costs: np.ndarray) -> None:
    """Refuse a log without costs, or with an LLM of unknown costs: any guess would favour it or the others.

    Parameters
    ----------
    logged : what the log chose among
    costs : float (K,), mean cost of each; NaN if unknown
    """
    for llm in dict.fromkeys(map(llm_of, logged)):
        if np.isnan(costs[[llm_of(choice) == llm for choice in logged]]).all():
            of = "costs" if llm is None else f"the costs of every LLM, but {on_one_line(llm)} has none"
            raise InputError(
                f"cost_weight needs {of}: add a column cost to the log, or leave cost_weight at 0"
            )


def costs_of(choices: Choices, logged: Choices, costs: np.ndarray) -> np.ndarray:
    """Mean cost of an answer of each choice, float64 (m,); where unknown the mean over the logged prompts, of
    its LLM if the log has it.

    Parameters
    ----------
    choices : m texts or arms
    logged, costs : as in `check_costs`
    """
    known = {choice: cost for choice, cost in zip(logged, costs) if not np.isnan(cost)}

    def cost(choice: str | Arm) -> float:
        same = [c for other, c in known.items() if llm_of(other) == llm_of(choice)]
        return known[choice] if choice in known else float(np.mean(same or list(known.values())))

    return np.array([cost(choice) for choice in choices])


def llm_column(frame: pd.DataFrame, where: str, source: str) -> list[str]:
    """The LLM of each row.

    Parameters
    ----------
    frame : a log as it was read; its index numbers the rows
    where : stands before the row's number in a complaint, such as "log.csv:"
    source : the name of the log, the beginning of a complaint

    Raises: InputError where the column is missing, or a cell is empty or no text.
    """
    if "llm" not in frame:
        raise InputError(
            f"{source}: there is no column llm to choose among LLMs by; add it, or leave out --arms"
        )
    names = []
    for number, name in zip(frame.index, frame["llm"].tolist()):
        if is_empty(name):
            raise InputError(f"{where}{number}: llm is empty: name the LLM, or leave out the row or --arms")
        names.append(str(name))
        check_text(names[-1], f"{where}{number}: the llm")
    return names


def rows_of_one_llm(frame: pd.DataFrame, source: str, llm: str | None) -> tuple[pd.DataFrame, str | None]:
    """The rows of one LLM, and its name; None where the log names none.

    Parameters
    ----------
    frame, source : as in `llm_column`
    llm : the LLM; None if the log has one only

    Raises: InputError where the log has several and none is named, and where it lacks the one named.
    """
    if "llm" not in frame:
        if llm is not None:
            raise InputError(
                f"{source}: there is no column llm, so rows of {llm!r} cannot be chosen; leave out --llm"
            )
        return frame, None
    found = pd.Series(
        ["" if is_empty(name) else str(name) for name in frame["llm"]], frame.index, dtype=object
    )
    names = sorted(set(found))
    if llm is None and len(names) > 1:
        shown = ", ".join([on_one_line(name) or "no name" for name in names[:6]] + ["..."] * (len(names) > 6))
        raise InputError(
            f"{source}: answers of {len(names)} LLMs ({shown}) are never pooled: choose one with --llm, or "
            "among all of them with --arms prompt,llm"
        )
    if llm is not None and llm not in names:
        raise InputError(f"{source}: no row of llm {llm!r}; there are {', '.join(names[:6])}")
    llm = llm if llm is not None else (names[0] if names else None)
    return frame[found == llm] if llm is not None else frame, llm


def choice_names(choices: Choices, asked: Sequence[str], ids: Iterable[Any] | None) -> list[str]:
    """Short names: the log's own where they tell all apart, else "prompt 1", ...; of arms "NAME on LLM".

    Parameters
    ----------
    choices : what to name
    asked : the prompt of each row of the log
    ids : the log's own name of the prompt of each row, or None
    """
    texts = list(dict.fromkeys(map(prompt_of, choices)))

    def named(names: Iterable[str]) -> list[str]:
        of = dict(zip(texts, names))
        return [of[prompt_of(c)] + (f" on {c.llm}" if isinstance(c, Arm) else "") for c in choices]

    if ids is not None:
        found: dict[str, set[str]] = {}
        for text, name in zip(asked, ids):
            found.setdefault(text, set()).add("" if is_empty(name) else str(name))
        own = [found[text].pop() if len(found[text]) == 1 else "" for text in texts]
        if all(own) and len(set(named(own))) == len(choices):
            return named(own)
    return named(f"prompt {j + 1}" for j in range(len(texts)))
