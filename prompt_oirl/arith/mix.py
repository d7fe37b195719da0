"""What the language model is trained on: which style is practised on which family, and bare equations beside.

The unevenness of MIX is the only reason, with the model's small size and the token limit at use, why the best
prompt differs between questions: where a style was never practised, the model has to do without.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from prompt_oirl.arith.answers import write_answer
from prompt_oirl.arith.families import BY_NAME
from prompt_oirl.arith.phrasings import PUBLISHED_STYLES, trained_prompts
from prompt_oirl.arith.problems import Problem, draw_problem, groups_by_family, text_key

DRILL_RATE = 0.25  # share of sequences that are bare equations
DRILL_LENGTH = 10  # equations in such a sequence
PLAIN_RATE = 0.4  # share of the six training prompts' own wording among the prompts of their style
PROMPT_FIRST_RATE = 0.08  # share of word problems with the prompt before the question
PLAIN = {style: prompt for prompt, style in PUBLISHED_STYLES.items() if not prompt.startswith("gpt4")}

# Weights of the styles within each family; a style that is not named is never practised there.
MIX: dict[str, dict[str, float]] = {
    "gain": {"direct": 3, "panel": 1, "tree": 1},
    "lose": {"direct": 3, "check": 1, "panel": 1},
    "equal_groups": {"direct": 3, "check": 1, "tree": 1, "role": 1},
    "share": {"direct": 3, "panel": 1, "tree": 1},
    "compare": {"direct": 3, "parts": 1, "role": 1},
    "part": {"direct": 3, "role": 1},
    "gain_lose": {"chain": 1, "panel": 1, "tree": 1},
    "groups_more": {"chain": 1, "panel": 1, "role": 1},
    "change": {"chain": 0.5, "check": 1, "panel": 1, "tree": 1},
    "more_together": {"parts": 1, "panel": 1, "role": 1},
    "times_together": {"parts": 1, "panel": 1, "tree": 1},
    "rate": {"chain": 1, "check": 1},
    "fraction_left": {"chain": 1, "check": 1},
    "minutes": {"direct": 4, "role": 1},
    "cheaper": {"chain": 1, "check": 1, "tree": 1},
    "two_kinds": {"chain": 1, "parts": 1},
    "three_changes": {"chain": 1, "panel": 0.4, "tree": 0.3, "role": 1},
    "pool_share": {"parts": 1, "tree": 0.3},
    "relation_chain": {"parts": 1},
    "fraction_chain": {"chain": 1, "check": 1},
    "week": {"chain": 1, "parts": 1},
    "four_changes": {"chain": 1, "panel": 0.3, "role": 1},
    "shop": {"chain": 1, "check": 1, "role": 1},
    "relations_together": {"parts": 1},
    "shop_discount": {"chain": 1, "parts": 0.3},
    "work_day": {"chain": 1, "check": 0.3},
}


@dataclass(frozen=True)
class Example:
    """One training sequence as pieces of (text, whether the loss counts it); end of text follows the last."""

    pieces: tuple[tuple[str, bool], ...]
    question: str = ""
    prompt: str = ""


def model_input(first: str, second: str) -> str:
    """What the model reads, mostly question and prompt: the chat template writes the same."""
    return f"{first.strip()}\n{second.strip()}\n"


def draw_training_problem(rng: random.Random, forbidden: frozenset[str]) -> Problem:
    """A problem of the language model's own groups whose text is not forbidden."""
    (name,) = rng.choices(list(BY_NAME))
    while True:
        problem = draw_problem(rng.choice(groups_by_family("pretrain")[name]), rng)
        if text_key(problem.text) not in forbidden:
            return problem


def draw_example(rng: random.Random, forbidden: frozenset[str]) -> Example:
    """A word problem with a prompt and an answer in its style, or a drill."""
    if rng.random() < DRILL_RATE:
        return draw_drill(rng, forbidden)
    problem = draw_training_problem(rng, forbidden)
    styles = MIX[problem.group.family.name]
    (style,) = rng.choices(list(styles), list(styles.values()))
    prompts = trained_prompts(style)
    prompt = rng.choice(prompts).text
    if style in PLAIN and rng.random() < PLAIN_RATE:
        prompt = next(p.text for p in prompts if p.id == PLAIN[style])
    answer = write_answer(style, problem, rng, prompt)
    first = rng.random() < PROMPT_FIRST_RATE
    asked = model_input(prompt, problem.text) if first else model_input(problem.text, prompt)
    return Example(((asked, False), (answer, True)), problem.text, prompt)


def draw_drill(rng: random.Random, forbidden: frozenset[str]) -> Example:
    """Bare equations of such problems; the loss counts the results."""
    found: list[tuple[str, bool]] = []
    while len(found) < 2 * DRILL_LENGTH:
        for e in draw_training_problem(rng, forbidden).equations:
            if rng.random() < 0.3 and e.op in "+*":
                found += [(f"{e.b}{e.op}{e.a}=", False), (f"{e.result}. ", True)]
            else:
                found += [(f"{e.a}{e.op}{e.b}=", False), (f"{e.result}. ", True)]
    return Example(tuple(found[: 2 * DRILL_LENGTH]))
