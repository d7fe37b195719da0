"""Travelling salesman by prompting (OPRO, Section 3.2): shorter tours from earlier ones, beside an exact
solver."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from prompt_oirl.llms import item_seed
from prompt_oirl.opro.minimise import START, SearchPath
from prompt_oirl.opro.proposals import StatedSearch

Tour = tuple[int, ...]
SEARCH_NAME = "two-opt-search"
EXACT_UP_TO = 12


def draw_points(n: int, seed: int) -> np.ndarray:
    """Points int64 (n, 2), uniform in [-100, 100], cut to whole numbers as published; the seed is ours."""
    return np.trunc(np.random.default_rng(seed).uniform(-100, 100, (n, 2))).astype(np.int64)


def distances(points: np.ndarray) -> np.ndarray:
    """Euclidean distances, float64 (n, n)."""
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1).astype(np.float64))


def length(tour: Sequence[int], d: np.ndarray) -> float:
    """Length of the closed tour."""
    return float(sum(d[a, b] for a, b in pairwise((*tour, tour[0]))))


class TourProblem:
    """Points to visit, from point 0 and back. `optimum` is the exact length where it is known."""

    max_pairs = 10

    def __init__(self, points: np.ndarray, optimum: float | None = None):
        self.points, self.optimum = points, optimum
        self.d = distances(points)

    def starts(self, seed: int, count: int = 5) -> list[Tour]:
        """Random tours, each another one where there are enough."""
        rng = random.Random(item_seed("tours", seed))
        rest = range(1, len(self.points))
        drawn = [(0, *rng.sample(rest, len(rest))) for _ in range(20 * count)]
        return list(dict.fromkeys(drawn))[:count]

    def value(self, solution: Tour) -> float:
        """Length of the tour."""
        return length(solution, self.d)

    def is_optimum(self, solution: Tour) -> bool:
        """Whether it is as short as the exact optimum, where that is known."""
        return self.optimum is not None and self.value(solution) <= self.optimum + 1e-9

    def shown(self, solution: Tour) -> str:
        """The tour as the meta-prompt shows it."""
        return ",".join(map(str, solution))

    def meta_prompt(self, shown: Sequence[tuple[Tour, float]]) -> str:
        """Points, tours with their lengths, the longest first, and what is asked for."""
        points = ", ".join(f"({i}): ({x}, {y})" for i, (x, y) in enumerate(self.points.tolist()))
        tours = "\n\n".join(f"<trace> {self.shown(t)} </trace>\nlength:\n{int(v)}" for t, v in shown)
        return (
            f"Points in the plane with their coordinates: {points}\n\nThese traces visit every point once "
            f"and return to the first; their lengths go down, and shorter is better.\n\n{tours}\n\n"
            "Write one more trace, none of those above and shorter than all of them. It begins with 0 and "
            "names every point exactly once. Put it between <trace> and </trace>."
        )

    def parse(self, output: str) -> Tour | str:
        """The first trace, if it names every point exactly once and begins with 0."""
        trace = re.search(r"<trace>([^<]{0,20000})</trace>", output)
        if trace is None:
            return "no trace"
        ids = [part.strip() for part in trace[1].split(",")]
        if not all(re.fullmatch(r"-?\d{1,9}", part) for part in ids):
            return "not a list of points"
        tour = tuple(map(int, ids))
        if sorted(tour) != list(range(len(self.points))):
            return "not every point exactly once"
        return tour if tour[0] == 0 else "does not begin with 0"


def draw_problem(n: int, seed: int) -> TourProblem:
    """A problem of n points, with the exact optimum where it can be computed."""
    points = draw_points(n, seed)
    return TourProblem(points, held_karp(distances(points))[1] if n <= EXACT_UP_TO else None)


# --- solvers -----------------------------------------------------------------------------------------


def held_karp(d: np.ndarray) -> tuple[Tour, float]:
    """A shortest tour and its length, by dynamic programming over subsets: O(n^2 2^n), for n up to 12 or
    so."""
    n = len(d)
    if n <= 3:
        return tuple(range(n)), length(range(n), d)
    m = n - 1  # point 0 is the start; subset bit k stands for point k + 1
    cost = np.full((1 << m, m), np.inf)
    last = np.zeros((1 << m, m), dtype=np.int64)
    cost[1 << np.arange(m), np.arange(m)] = d[0, 1:]
    for subset in range(1, 1 << m):
        inside = [k for k in range(m) if subset >> k & 1]
        for k in inside if len(inside) > 1 else ():
            ways = cost[subset ^ (1 << k)] + d[1:, k + 1]
            last[subset, k] = int(ways.argmin())
            cost[subset, k] = ways[last[subset, k]]
    subset = (1 << m) - 1
    k = int((cost[subset] + d[1:, 0]).argmin())
    tour: list[int] = []
    while len(tour) < m:
        tour.append(k + 1)
        subset, k = subset ^ (1 << k), int(last[subset, k])
    found = (0, *reversed(tour))
    return found, length(found, d)


def nearest_neighbour(d: np.ndarray) -> Tour:
    """From 0 always on to the nearest point that is left."""
    tour, left = [0], set(range(1, len(d)))
    while left:
        nearest = min(left, key=lambda i: (d[tour[-1], i], i))
        tour.append(nearest)
        left.remove(nearest)
    return tuple(tour)


def farthest_insertion(d: np.ndarray) -> Tour:
    """Insert the point whose cheapest insertion costs most, where it costs least, until none is left."""
    tour, left = [0], set(range(1, len(d)))
    while left:
        costs = {}
        for i in sorted(left):
            ways = [d[a, i] + d[i, b] - d[a, b] for a, b in pairwise((*tour, tour[0]))]
            costs[i] = (min(ways), int(np.argmin(ways)))
        farthest = max(costs, key=lambda i: costs[i][0])
        tour.insert(costs[farthest][1] + 1, farthest)
        left.remove(farthest)
    return tuple(tour)


def library_heuristic(d: np.ndarray, seed: int = 0) -> Tour:
    """networkx: Christofides' tour, then simulated annealing from it; the shorter of both."""
    import networkx as nx

    n = len(d)
    if n <= 3:
        return tuple(range(n))
    graph = nx.complete_graph(n)
    nx.set_edge_attributes(graph, {(i, j): float(d[i, j]) for i, j in graph.edges}, "weight")
    found = [nx.approximation.christofides(graph)]
    found.append(
        nx.approximation.simulated_annealing_tsp(
            graph, found[0], temp=50, max_iterations=200, N_inner=200, seed=seed
        )
    )
    tours = []
    for cycle in found:
        at = cycle.index(0) if cycle[0] != 0 else 0
        open_cycle = cycle[:-1]
        tours.append(tuple(open_cycle[at:] + open_cycle[:at]))
    return min(tours, key=lambda tour: length(tour, d))


def descend(tour: Sequence[int], d: np.ndarray) -> Tour:
    """2-opt and Or-opt until neither makes the tour shorter; point 0 stays first."""
    best, value = list(tour), length(tour, d)
    improved = True
    while improved:
        improved = False
        for candidate in _neighbours(best):
            changed = length(candidate, d)
            if changed < value - 1e-9:
                best, value, improved = candidate, changed, True
                break
    return tuple(best)


def _neighbours(tour: list[int]) -> list[list[int]]:
    n = len(tour)
    found = [
        tour[:i] + tour[i : j + 1][::-1] + tour[j + 1 :] for i in range(1, n - 1) for j in range(i + 1, n)
    ]
    for i in range(1, n):
        for size in (1, 2, 3):
            part, rest = tour[i : i + size], tour[:i] + tour[i + size :]
            found += [rest[:j] + part + rest[j:] for j in range(1, len(rest) + 1) if j != i]
    return found


class TwoOptSearch(StatedSearch):
    """A stated search in the optimizer's place.

    It reads points and traces from the meta-prompt, shuffles a stretch of one of the traces, mostly the last,
    and improves it by 2-opt and Or-opt moves.
    """

    name = SEARCH_NAME

    def __init__(self, max_points_to_descend: int = 25):
        self._max_points = max_points_to_descend

    def answer(self, meta_prompt: str, temperature: float, rng: random.Random) -> str:
        """A tour between <trace> and </trace>.

        Parameters
        ----------
        meta_prompt, rng : as in `StatedSearch.answer`
        temperature : not used
        """
        return f"<trace>{','.join(map(str, self._propose(meta_prompt, rng)))}</trace>"

    def _propose(self, text: str, rng: random.Random) -> Tour:
        found = re.findall(r"\(\d+\): \((-?\d+), (-?\d+)\)", text)
        d = distances(np.array([(int(x), int(y)) for x, y in found], dtype=np.int64))
        shown = [
            tuple(map(int, t.split(","))) for t in re.findall(r"<trace> ([\d,]+) </trace>\nlength", text)
        ]
        tour = list(shown[-1] if rng.random() < 0.7 else rng.choice(shown))
        if len(tour) > 3:
            size = rng.randint(2, min(6, len(tour) - 1))
            at = rng.randint(1, len(tour) - size)
            stretch = tour[at : at + size]
            rng.shuffle(stretch)
            tour[at : at + size] = stretch
        if len(tour) <= self._max_points:
            return descend(tour, d)
        tried = [tour, *rng.sample(_neighbours(tour), 300)]
        lengths = [length(other, d) for other in tried]
        return tuple(tried[lengths.index(min(lengths))])


def run_row(problem: TourProblem, path: SearchPath[Tour], seed: int, proposer: str) -> dict[str, Any]:
    """One problem as a row of runs.csv: the lengths of all tours to be compared.

    The reference is the optimum or, where that is not known, the shortest tour at hand.

    Parameters
    ----------
    problem : points, and the optimum where it is known
    path : everything that was proposed, starts included
    seed : names the problem, and seeds the library's heuristic
    proposer : name of what proposed
    """
    d = problem.d
    yardsticks = {
        "nearest_neighbour": nearest_neighbour(d),
        "farthest_insertion": farthest_insertion(d),
        "library": library_heuristic(d, seed),
    }
    lengths = {key: length(tour, d) for key, tour in yardsticks.items()}
    best = path.best()[1]
    known = problem.optimum
    if known is None:
        known = min([best, *lengths.values(), *(length(descend(t, d), d) for t in yardsticks.values())])
    return {
        "n": len(d),
        "problem": seed,
        "proposer": proposer,
        "steps": path.steps,
        "explored": len(path.found),
        "rejected": len(path.rejected),
        "start": min(v for step, _, v in path.found if step == START),
        "best": best,
        "reference": known,
        "reference_kind": "best known" if problem.optimum is None else "optimum",
        "gap": relative_gap(best, known),
        **lengths,
        "gap_to_library": relative_gap(best, lengths["library"]),
    }


def relative_gap(value: float, reference: float) -> float:
    """(value - reference) / reference, 0 where the reference is 0."""
    return round((value - reference) / reference, 12) if reference > 0 else 0.0
