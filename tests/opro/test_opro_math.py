"""Linear regression and tours: golden starts, losses and lengths; the stated searches reach the optimum; odd
output."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import run_in_process

from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms import LLM, Decoding
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.scripted import ScriptedLLM
from prompt_oirl.opro import tours
from prompt_oirl.opro.minimise import minimise
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.regression import PUBLISHED_TRUTHS, PatternSearch, Regression
from prompt_oirl.opro.tours import TourProblem, TwoOptSearch

Make = Callable[[LLM], Proposer]


@pytest.fixture
def proposer(tmp_path: Path) -> Make:
    names = itertools.count()
    return lambda llm: Proposer(lambda: llm, "scripted", tmp_path / f"{next(names)}.jsonl", 0, Budget())


# --- linear regression -----------------------------------------------------------------------------------

# Measured on the published code: (w, b, whole loss) of the five starts, and the loss at the truth (15, 14).
GOLDEN = [
    ([(10, 13, 1086508), (15, 10, 836), (16, 14, 42864), (17, 18, 192741), (18, 15, 393751)], 47.0377),
    ([(10, 18, 1022547), (16, 19, 57147), (18, 14, 386673), (19, 12, 667017), (19, 16, 707873)], 55.1253),
    ([(12, 13, 390700), (14, 12, 47103), (16, 15, 46724), (17, 14, 173987), (20, 12, 1053402)], 54.1663),
    ([(11, 12, 708461), (13, 13, 177405), (14, 17, 36012), (15, 11, 511), (18, 19, 425099)], 48.6633),
    ([(12, 11, 410956), (13, 17, 157635), (14, 11, 51479), (14, 16, 38430), (15, 17, 457)], 36.3249),
]


@pytest.mark.parametrize("rep", range(5))
def test_golden_starts_and_losses(rep: int) -> None:
    problem = Regression(rep=rep)
    starts, loss = GOLDEN[rep]
    assert [(w, b, int(problem.value((w, b)))) for w, b in problem.starts()] == starts
    assert problem.value((15, 14)) == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize("truth", PUBLISHED_TRUTHS)
@pytest.mark.parametrize("rep", range(5))
def test_pattern_search_reaches_the_optimum_from_every_golden_start(
    truth: tuple[int, int], rep: int, proposer: Make
) -> None:
    problem = Regression(truth, rep)
    path = minimise(problem, problem.starts(), proposer(PatternSearch()), steps=200)
    assert path.steps is not None and path.steps <= 100
    assert path.best()[0] == truth or path.best()[1] < problem.value(truth)
    assert len({s for _, s, _ in path.found}) == len(path.found) <= 5 + 8 * path.steps


def test_far_start_and_a_start_at_the_optimum(proposer: Make) -> None:
    problem = Regression()
    path = minimise(problem, [(36, -1)], proposer(PatternSearch()), steps=200)
    assert path.steps is not None and path.found[0][1] == (36, -1)
    assert minimise(problem, [(15, 14), (10, 10)], proposer(PatternSearch())).steps == 0


def test_meta_prompt_descends_and_hides_the_formula() -> None:
    problem = Regression()
    pairs = [((w, b), problem.value((w, b))) for w, b in [(10, 13), (15, 10)]]
    text = problem.meta_prompt(pairs)
    assert "input:\nw=10, b=13\nvalue:\n1086508\n\ninput:\nw=15, b=10\nvalue:\n836\n" in text
    assert text.endswith("[w, b].") and "linear" not in text and "slope" not in text


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("I pick [12, 15] and then [w=13, b=14.6]", (13, 15)),
        ("[3, -4]", (3, -4)),
        ("[w, b] is [1, 2] or [w, b]", (1, 2)),
        ("no", "no pair in brackets"),
        ("[w, b]", "no pair in brackets"),
        ("[1, 2, 3]", "not two numbers"),
        ("[inf, 3]", "not finite numbers"),
        ("[nan, nan]", "not finite numbers"),
        ("[1e400, 2]", "not two numbers"),
        ("[9999999, 1]", "out of range"),
        ("[__import__('os'), 1]", "not two numbers"),
        ("[1 2]", "not two numbers"),
    ],
)
def test_parse_pairs(output: str, found: object) -> None:
    assert Regression().parse(output) == found


@given(st.text(alphabet="[]wb=,.-+0123456789 \ninfa", max_size=80) | st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_output_is_a_pair_or_a_reason(text: str) -> None:
    problem, tour_problem = Regression(), TourProblem(tours.draw_points(4, 0))
    found = problem.parse(text)
    assert isinstance(found, str) or np.isfinite(problem.value(found))
    traced = tour_problem.parse(f"<trace>{text}</trace>")
    assert isinstance(traced, str) or sorted(traced) == [0, 1, 2, 3]


def test_repeated_and_malformed_output_is_counted_and_survived(proposer: Make) -> None:
    outputs = ["[10, 13]", "[inf, 3]", "nothing", "[11, 11]", "[11.2, 10.9]"]
    path = minimise(
        Regression(), [(10, 13)], proposer(ScriptedLLM(lambda c, seed: outputs[seed % 5])), steps=5
    )
    reasons = {reason for _, reason in path.rejected}
    assert path.steps is None and {s for _, s, _ in path.found} == {(10, 13), (11, 11)}
    assert {"repeated", "not finite numbers", "no pair in brackets"} <= reasons


def test_a_model_that_never_answers_ends_with_an_error(proposer: Make) -> None:
    with pytest.raises(InputError, match="step 0: none of 40 outputs of scripted was a valid solution"):
        minimise(Regression(), [(10, 13)], proposer(ScriptedLLM(lambda c, seed: "[w, b]")))
    problem = TourProblem(tours.draw_points(5, 0))
    with pytest.raises(InputError, match="not every point exactly once"):
        minimise(
            problem, problem.starts(0), proposer(ScriptedLLM(lambda c, seed: "<trace>0,-1,-2,-3,-4</trace>"))
        )


def test_resume_replays_and_budget_stops(tmp_path: Path) -> None:
    def run(path: Path, calls: int | None) -> tuple[ScriptedLLM, list]:
        search = PatternSearch()
        llm = ScriptedLLM(
            lambda c, seed: search.generate([c], decoding=Decoding(1, 1, None), seeds=[seed])[0].text
        )
        problem = Regression((25, 23))
        found = minimise(
            problem, problem.starts(), Proposer(lambda: llm, "x", path, 0, Budget(max_calls=calls))
        )
        return llm, [found.found, found.steps, bool(found.stopped)]

    whole, result = run(tmp_path / "whole.jsonl", None)
    first, stopped = run(tmp_path / "part.jsonl", 21)
    rest, again = run(tmp_path / "part.jsonl", None)
    assert len(first.asked) == 21 and stopped[2] and again == result
    assert len(first.asked) + len(rest.asked) == len(whole.asked)
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "part.jsonl").read_bytes()


# --- tours -------------------------------------------------------------------------------------------------

# Fig. 20 of the paper.
POINTS = [
    (-4, 5),
    (17, 76),
    (-9, 0),
    (-31, -86),
    (53, -35),
    (26, 91),
    (65, -33),
    (26, 86),
    (-13, -70),
    (13, 79),
    (-73, -86),
    (-45, 93),
    (74, 24),
    (67, -42),
    (87, 51),
    (83, 94),
    (-7, 52),
    (-89, 47),
    (0, -38),
    (61, 58),
]


def test_golden_lengths() -> None:
    d = tours.distances(np.array(POINTS))
    assert (
        int(tours.length([0, 13, 3, 16, 19, 2, 17, 5, 4, 7, 18, 8, 1, 9, 6, 14, 11, 15, 10, 12], d)) == 2254
    )
    assert (
        int(tours.length([0, 10, 4, 18, 6, 8, 7, 16, 14, 11, 2, 15, 9, 1, 5, 19, 13, 12, 17, 3], d)) == 1840
    )


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 8])
def test_held_karp_equals_brute_force(n: int) -> None:
    d = tours.distances(tours.draw_points(n, n))
    shortest = min(tours.length((0, *rest), d) for rest in itertools.permutations(range(1, n)))
    tour, value = tours.held_karp(d)
    assert (
        value == pytest.approx(shortest) and sorted(tour) == list(range(n)) and tours.length(tour, d) == value
    )


@given(st.integers(4, 9), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_heuristics_are_tours_and_never_beat_the_exact_solver(n: int, seed: int) -> None:
    d = tours.distances(tours.draw_points(n, seed))
    exact = tours.held_karp(d)[1]
    for tour in (tours.nearest_neighbour(d), tours.farthest_insertion(d), tours.descend(range(n), d)):
        assert sorted(tour) == list(range(n)) and tour[0] == 0
        assert tours.length(tour, d) >= exact - 1e-9


def test_library_heuristic_is_a_tour() -> None:
    d = tours.distances(tours.draw_points(9, 3))
    tour = tours.library_heuristic(d)
    assert (
        sorted(tour) == list(range(9))
        and tour[0] == 0
        and tours.length(tour, d) >= tours.held_karp(d)[1] - 1e-9
    )
    assert tour == tours.library_heuristic(d)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 9, 10, 12])
def test_two_opt_search_has_no_gap_up_to_twelve_points(n: int, proposer: Make) -> None:
    for seed in range(3):
        points = tours.draw_points(n, seed)
        tour, optimum = tours.held_karp(tours.distances(points))
        problem = TourProblem(points, optimum)
        path = minimise(problem, problem.starts(seed), proposer(TwoOptSearch()), steps=60)
        assert path.steps is not None and path.best()[1] == pytest.approx(optimum, abs=1e-9)


def test_same_points_twice_are_survived(proposer: Make) -> None:
    problem = TourProblem(np.zeros((6, 2), dtype=np.int64), 0.0)
    assert minimise(problem, problem.starts(0), proposer(TwoOptSearch())).steps == 0


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("so <trace> 0, 2,1 ,3 </trace> <trace>0,1,2,3</trace>", (0, 2, 1, 3)),
        ("0,1,2,3", "no trace"),
        ("<trace>0,1,2</trace>", "not every point exactly once"),
        ("<trace>0,1,2,2</trace>", "not every point exactly once"),
        ("<trace>0,-1,-2,-3</trace>", "not every point exactly once"),
        ("<trace>1,0,2,3</trace>", "does not begin with 0"),
        ("<trace>0,a,2,3</trace>", "not a list of points"),
        ("<trace></trace>", "not a list of points"),
        ("<trace>0,1,2,3", "no trace"),
        ("<trace>0,1,2,3,4</trace>", "not every point exactly once"),
    ],
)
def test_parse_tours(output: str, found: object) -> None:
    assert TourProblem(tours.draw_points(4, 0)).parse(output) == found


# --- scripts -----------------------------------------------------------------------------------------------


def run_script(script: str, root: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run_in_process([sys.executable, script, "--root", root, *flags], REPO_ROOT / "opro_exps")


@pytest.mark.parametrize(
    ("script", "flags", "name"),
    [
        (
            "opro_linear_regression.py",
            ["--truth", "15", "14", "--reps", "2"],
            "linear_regression/pattern-search",
        ),
        (
            "opro_traveling_salesman.py",
            ["--n", "8", "13", "--problems", "1", "--steps", "2"],
            "traveling_salesman/two-opt-search",
        ),
    ],
)
def test_scripts_write_tables_and_figures_and_repeat_them(
    script: str, flags: list[str], name: str, tmp_path: Path
) -> None:
    done = run_script(script, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "opro" / name
    before = {p.name: p.read_bytes() for p in folder.glob("*.*")}
    assert {"runs.csv", "path.png" if "regression" in name else "tours.csv"} <= set(before)
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    assert {row["proposer"] for row in rows} == {folder.name}
    if "gap" in rows[0]:
        assert rows[0]["reference_kind"] == "optimum" and float(rows[0]["gap"]) == 0
        assert rows[1]["reference_kind"] == "best known"
    assert run_script(script, tmp_path, *flags).returncode == 0
    assert before == {p.name: p.read_bytes() for p in folder.glob("*.*")}
