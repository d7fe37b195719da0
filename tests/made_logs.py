"""Logs of a user's own, as tables: ones in which the best prompt depends on the question, and odd ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from conftest import NAMES, STORIES, THINGS

PROMPTS = ("Think step by step.", "Answer:", "Draw a picture first.")


def made_log(
    n: int = 160, missing: float = 0.3, depends: bool = True, seed: int = 0, samples: int = 1
) -> pd.DataFrame:
    """Stories of four kinds, three of which one prompt each answers and the last none.

    Without `depends`, success is a matter of the prompt alone.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        kind = i % len(STORIES)
        text = STORIES[kind].format(
            n=NAMES[i % 8], t=THINGS[(i // 4) % 8], a=rng.integers(2, 99), b=rng.integers(2, 99)
        )
        text += " " + " ".join(
            "".join(rng.choice(list("abcdefghij"), 5)) for _ in range(12)
        )  # no near-duplicates
        for j, prompt in enumerate(PROMPTS):
            chance = (0.9 if kind == j else 0.2) * (kind < 3) if depends else 0.3 + 0.2 * j
            for s in range(samples):
                if rng.random() >= missing:
                    rows.append(
                        {
                            "question": text,
                            "prompt": prompt,
                            "correct": int(rng.random() < chance),
                            "sample": s,
                            "cost": 1 + j,
                            "kind": kind,
                        }
                    )
    return pd.DataFrame(rows)


def log_of_two_llms(n: int = 160, seed: int = 0) -> pd.DataFrame:
    """Stories of four kinds; "small" (cost 1) is right on the first kind only, "big" (cost 10) on the next
    two, with "Think" a little more often than with "Answer"."""
    rng = np.random.default_rng(seed)
    rows = []
    for text, kind in (
        made_log(n, missing=0, seed=seed).drop_duplicates("question")[["question", "kind"]].values
    ):
        for llm, cost, kinds in (("big", 10, (1, 2)), ("small", 1, (0,))):
            for prompt, chance in (("Think", 0.95), ("Answer", 0.8)):
                right = int(rng.random() < (chance if kind in kinds else 0.05))
                row = {
                    "question": text,
                    "prompt": prompt,
                    "llm": llm,
                    "correct": right,
                    "cost": cost,
                    "kind": kind,
                }
                rows.append({**row, "answer": f"The answer is {5 if right else 7}."})
    return pd.DataFrame(rows)


ODD: dict[str, pd.DataFrame] = {
    "one prompt": made_log().query("prompt == 'Answer:'"),
    "all right": made_log().assign(correct=1),
    "all wrong": made_log().assign(correct=0),
    "one question": made_log().iloc[:2],
    "one row": made_log().iloc[:1],
    "few questions": made_log(n=12),
    "each question with one prompt": made_log(missing=0).groupby("question").sample(1, random_state=0),
    "a prompt asked once": pd.concat(
        [made_log().query("prompt != 'Answer:'"), made_log().query("prompt == 'Answer:'").iloc[:1]]
    ),
    "a prompt never right": made_log().assign(correct=lambda d: d.correct * (d.prompt != "Answer:")),
    "success rates": made_log().assign(correct=lambda d: 0.25 + 0.5 * d.correct),
    "samples": made_log(samples=3),
}
