"""An answer in each style, written from a problem's equations. The strict grader reads all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from prompt_oirl.arith.draws import Equation
from prompt_oirl.arith.phrasings import BY_NAME
from prompt_oirl.arith.problems import Problem

INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
SLIP_RATE = 0.2  # share of texts with several voices in which one of them errs and is outvoted, or leaves
JOBS = BY_NAME["role"].clauses["job"]


def direct(problem: Problem, rng: random.Random, prompt: str) -> str:
    """The number alone.

    Parameters
    ----------
    problem : as in `write_answer`
    rng, prompt : not used
    """
    return f"{problem.gold}."


def chain(problem: Problem, rng: random.Random, prompt: str) -> str:
    """One sentence per step, then the result.

    Parameters
    ----------
    problem : as in `write_answer`
    rng, prompt : not used
    """
    return " ".join(f"{e.label}: {e}." for e in problem.equations) + _close(problem)


def check(problem: Problem, rng: random.Random, prompt: str) -> str:
    """Every equation is followed by its inverse.

    Parameters
    ----------
    problem : as in `write_answer`
    rng, prompt : not used
    """
    tried = (f"{e}, check {e.result}{INVERSE[e.op]}{e.b}={e.a}." for e in problem.equations)
    return " ".join(tried) + _close(problem)


def panel(problem: Problem, rng: random.Random, prompt: str) -> str:
    """Three full solutions and a vote.

    Parameters
    ----------
    problem, rng : as in `write_answer`
    prompt : not used
    """
    wrong = rng.randint(2, 3) if rng.random() < SLIP_RATE else 0
    said = [
        f"Expert {i}: "
        f"{', '.join(_slip(problem.equations, rng) if i == wrong else map(str, problem.equations))}."
        for i in (1, 2, 3)
    ]
    return " ".join([*said, "Most agree."]) + _close(problem)


def tree(problem: Problem, rng: random.Random, prompt: str) -> str:
    """Three voices say each step in turn; one that errs leaves.

    Parameters
    ----------
    problem, rng : as in `write_answer`
    prompt : not used
    """
    voices = ["A", "B", "C"]
    slip = rng.randrange(len(problem.equations)) if rng.random() < SLIP_RATE else -1
    said = []
    for i, equation in enumerate(problem.equations):
        wrong = rng.choice(voices[1:]) if i == slip else ""
        for voice in voices:
            said.append(f"{voice}: {_slip([equation], rng)[0] if voice == wrong else equation}.")
        if wrong:
            said.append(f"{wrong} leaves.")
            voices.remove(wrong)
    return " ".join(said) + _close(problem)


def parts(problem: Problem, rng: random.Random, prompt: str) -> str:
    """Sub-questions first, then each with its equation.

    Parameters
    ----------
    problem : as in `write_answer`
    rng, prompt : not used
    """
    asked = "; ".join(e.label for e in problem.equations)
    solved = " ".join(f"How many {e.label}? {e}." for e in problem.equations)
    return f"Parts: {asked}. {solved}{_close(problem)}"


def role(problem: Problem, rng: random.Random, prompt: str) -> str:
    """Speaks as the person that the prompt names, notes the given numbers, then the equations.

    Parameters
    ----------
    problem, prompt : as in `write_answer`
    rng : not used
    """
    job = next((job for job in (*JOBS, "architect") if job in prompt), "helper")
    results: list[int] = []
    given: list[str] = []
    for e in problem.equations:
        given += [str(n) for n in (e.a, e.b) if n not in results]
        results.append(e.result)
    return f"As a {job} I note {', '.join(given)}. {'. '.join(map(str, problem.equations))}.{_close(problem)}"


def _close(problem: Problem) -> str:
    return f" The answer is {problem.gold}."


def _slip(equations: Sequence[Equation], rng: random.Random) -> list[str]:
    """The equations as one who errs in the last of them writes them."""
    *right, last = equations
    wrong = max(0, last.result + rng.choice((-2, -1, 1, 2, 10)))
    return [*map(str, right), f"{last.a}{last.op}{last.b}={wrong}"]


STYLE_WRITERS: dict[str, Callable[[Problem, random.Random, str], str]] = {
    "direct": direct,
    "chain": chain,
    "check": check,
    "panel": panel,
    "tree": tree,
    "parts": parts,
    "role": role,
}


def write_answer(style: str, problem: Problem, rng: random.Random, prompt: str) -> str:
    """The answer text; the prompt's words matter only to the style that speaks as somebody.

    Parameters
    ----------
    style : a key of STYLE_WRITERS
    problem : what is answered
    rng : draws who errs, and where, in the styles with several voices
    prompt : text that asks for the style
    """
    return STYLE_WRITERS[style](problem, rng, prompt)
