"""A log in which nothing but the segment of a question tells which prompt is right."""

from __future__ import annotations

import numpy as np
import pandas as pd

RIGHT = {"sums": "Think.", "facts": "Answer.", "riddles": "Draw."}  # the prompt that a segment needs


def segmented_log(n: int = 240, seed: int = 2) -> pd.DataFrame:
    """n questions of random words in three segments, whose prompt is right nine times in ten, others once."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        text = " ".join("".join(rng.choice(list("abcdefghij"), 5)) for _ in range(12))
        segment = list(RIGHT)[rng.integers(3)]
        for j, prompt in enumerate(RIGHT.values()):
            right = int(rng.random() < (0.9 if RIGHT[segment] == prompt else 0.1))
            rows.append(
                {
                    "question": text,
                    "prompt": prompt,
                    "correct": right,
                    "answer": f"The answer is {i if right else 1000 + j}.",
                    "segment": segment,
                }
            )
    return pd.DataFrame(rows)
