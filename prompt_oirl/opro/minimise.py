"""OPRO as a plain optimiser (Section 3): solutions and their values in the meta-prompt, new solutions out of
it.

`regression` and `tours` are the published problems. The loop differs from that of instructions in what ends
it: the known optimum, the steps, or a whole step without one valid solution (the published code then asks for
ever).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import BudgetSpent

Solution = TypeVar("Solution", bound=Hashable)
START = -1


@dataclass(kw_only=True)
class MinimiseOptions:
    """How the optimizer is asked, the same for all problems."""

    proposer: Literal["search", "llm"] = "search"
    """search: a stated search that reads the meta-prompt; llm: --optimizer."""
    steps: int = 500
    """Steps at most; a run ends at the known optimum."""
    samples: int = 8
    """Valid solutions asked for in each step."""
    temperature: float = 1.0
    """Of the optimizer."""
    max_gen_len: int = 1024
    """Tokens of an optimizer's answer."""
    seed: int = 0
    """Seed of the proposals."""
    root: Path = REPO_ROOT
    """Folder that holds results/."""
    optimizer: ModelOptions = field(default_factory=lambda: ModelOptions(max_seq_len=4096))
    budget: BudgetOptions = field(default_factory=BudgetOptions)

    def check(self, **counts: int) -> None:
        """Refuse numbers that make no search; `counts` are further flags of at least 1."""
        sizes = {name: getattr(self, name) for name in ("steps", "samples", "max_gen_len")}
        runs.check_at_least(1, **counts, **sizes)
        runs.check_temperature("--temperature", self.temperature)


class Problem(Protocol[Solution]):
    """What is minimised. `shown` pairs come with the worst first."""

    max_pairs: int

    def meta_prompt(self, shown: Sequence[tuple[Solution, float]]) -> str:
        """What the optimizer is asked."""

    def parse(self, output: str) -> Solution | str:
        """A solution, or the reason why there is none."""

    def value(self, solution: Solution) -> float:
        """What is to become small."""

    def is_optimum(self, solution: Solution) -> bool:
        """Whether the search may end."""

    def shown(self, solution: Solution) -> str:
        """The solution as text."""


@dataclass
class SearchPath(Generic[Solution]):
    """Everything that was proposed.

    `steps` is the number of steps to the optimum, 0 if a start was it, None if it was not reached.
    """

    problem: Problem[Solution]
    found: list[tuple[int, Solution, float]] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    steps: int | None = None
    stopped: str = ""

    def best(self) -> tuple[Solution, float]:
        """The best solution and its value."""
        _, solution, value = min(self.found, key=lambda row: row[2])
        return solution, value

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per solution in the order they came, with the best value so far."""
        best = float("inf")
        for step, solution, value in self.found:
            best = min(best, value)
            yield {
                "step": step,
                "solution": self.problem.shown(solution),
                "value": value,
                "best_so_far": best,
            }


def minimise(
    problem: Problem[Solution],
    starts: Sequence[Solution],
    proposer: Proposer,
    steps: int = 500,
    samples: int = 8,
    temperature: float = 1.0,
    attempts: int = 5,
) -> SearchPath[Solution]:
    """Search until the optimum is found.

    Parameters
    ----------
    starts : solutions that are known at the beginning
    steps : steps at most
    samples : new solutions asked for in each step, at a sampling temperature of `temperature`
    attempts : a step samples at most so many times as often

    Raises: InputError if a whole step gives no valid solution.
    """
    path: SearchPath[Solution] = SearchPath(problem)
    seen: set[Solution] = set()
    for solution in starts:
        if solution not in seen:
            seen.add(solution)
            path.found.append((START, solution, problem.value(solution)))
    if any(problem.is_optimum(solution) for solution in seen):
        path.steps = 0
        return path
    try:
        for step in range(steps):
            if _step(path, seen, step, proposer, samples, temperature, attempts):
                path.steps = step + 1
                break
    except BudgetSpent as spent:
        path.stopped = str(spent)
    return path


def _step(
    path: SearchPath[Solution],
    seen: set[Solution],
    step: int,
    proposer: Proposer,
    samples: int,
    temperature: float,
    attempts: int,
) -> bool:
    """One step; True if it found the optimum. A solution that is known already is valid but not new."""
    problem = path.problem
    ranked = sorted(((s, v) for _, s, v in path.found), key=lambda pair: -pair[1])[-problem.max_pairs :]
    text = problem.meta_prompt(ranked)
    valid, at, hit = 0, 0, False
    while valid < samples and at < samples * attempts:
        proposals = proposer.propose(text, step, at + samples - valid, temperature)[at:]
        at += len(proposals)
        for proposal in proposals:
            solution = "no answer" if proposal.finish_reason == "error" else problem.parse(proposal.output)
            if isinstance(solution, str):
                path.rejected.append((step, solution))
                continue
            valid += 1
            if solution in seen:
                path.rejected.append((step, "repeated"))
                continue
            seen.add(solution)
            path.found.append((step, solution, problem.value(solution)))
            hit = hit or problem.is_optimum(solution)
    if valid == 0:
        reasons = ", ".join(sorted({reason for s, reason in path.rejected if s == step}))
        raise InputError(
            f"step {step}: none of {at} outputs of {proposer.name} was a valid solution ({reasons}); "
            "use a stronger optimizer"
        )
    return hit
