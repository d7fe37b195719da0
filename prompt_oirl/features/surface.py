"""Surface features of a question: lengths, the numbers in it, cue words. No labels, no model, no fitting.

Sentence embeddings see what a question is about but little of how long or how big it is, and difficulty is
mostly that. These columns stand beside the embedding in every reward model but the published preset.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_TOKEN = re.compile(r"[a-z]+|\d+|[^\w\s]")
_SENTENCE = re.compile(r"(?<![.?!])[.?!]+\s+")
_NAME = re.compile(r"\b[A-Z][a-z]+")
CUES = [
    "each",
    "total",
    "more",
    "less",
    "fewer",
    "left",
    "than",
    "every",
    "per",
    "half",
    "twice",
    "times",
    "if",
    "and",
    "gave",
    "bought",
    "had",
    "still",
    "then",
    "after",
    "before",
    "not",
    "other",
    "some",
    "of",
    "on",
    "in",
    "was",
    "were",
    "group",
    "groups",
    "equal",
    "equally",
]
ASKED = ("how many", "how much", "more", "left", "total", "altogether", "in all", "each")
NAMES = (
    [
        "characters",
        "tokens",
        "distinct_tokens",
        "mean_token_length",
        "sentences",
        "commas",
        "capitalised",
        "dollars",
        "percents",
    ]
    + ["numbers", "repeated_numbers", "decimals", "largest", "second_largest", "smallest", "sum"]
    + [
        "first",
        "second",
        "third",
        "first_divides",
        "second_divides",
        "descending",
        "asked_length",
        "asked_digits",
    ]
    + [f"asks_{phrase.replace(' ', '_')}" for phrase in ASKED]
    + [f"word_{word}" for word in CUES]
)


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """Features float32 (n, len(NAMES)); sizes of numbers as log(1 + x)."""
    return np.array([_features(text) for text in texts], dtype=np.float32).reshape(len(texts), len(NAMES))


def _features(text: str) -> list[float]:
    lower = text.lower()
    tokens = _TOKEN.findall(lower)
    # 15 digits are as large as anything a word problem means; longer runs are hostile or serial numbers.
    numbers = [min(float(n.replace(",", "")[:32]), 1e15) for n in _NUMBER.findall(text)]
    sentences = [s for s in _SENTENCE.split(lower) if s.strip()]
    asked = sentences[-1] if sentences else ""
    first, second, third = (numbers + [0.0] * 3)[:3]
    largest, second_largest = (sorted(numbers, reverse=True) + [0.0] * 2)[:2]
    sizes = [largest, second_largest, min(numbers, default=0.0), sum(numbers), first, second, third]
    logs = np.log1p(sizes).tolist()
    two = len(numbers) > 1
    return (
        [
            len(text),
            len(tokens),
            len(set(tokens)),
            sum(map(len, tokens)) / max(len(tokens), 1),
            len(sentences),
        ]
        + [
            text.count(","),
            len(_NAME.findall(text)),
            lower.count("$") + lower.count("dollar"),
            lower.count("%") + lower.count("percent"),
        ]
        + [len(numbers), len(numbers) - len(set(numbers)), sum(n != int(n) for n in numbers)]
        + logs
        + [
            two and second != 0 and first % second == 0,
            two and first != 0 and second % first == 0,
            two and first > second,
        ]
        + [len(asked), sum(map(str.isdigit, asked))]
        + [phrase in asked for phrase in ASKED]
        + [tokens.count(word) for word in CUES]
    )
