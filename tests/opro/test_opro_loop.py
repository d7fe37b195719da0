"""The loop on a task whose truth is known: it must learn from the meta-prompt, pay once, stop exactly, and
resume."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opro_toy import HELPFUL, mutate_last, pick, quality, toy_answer, toy_parts, toy_reply, toy_task

from prompt_oirl.alol.tasks import toy
from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError, read_csv
from prompt_oirl.llms import LLM, Generation
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.scripted import ScriptedLLM
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.opro import report, runs
from prompt_oirl.opro.loop import START, LoopSettings, Run, optimise, step_meta_prompt
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.scorers import LLMScorer, Score
from prompt_oirl.opro.search_proposer import PhraseSearch
from prompt_oirl.opro.shared_log import SharedLog, Spending

Mutate = Callable[[str, int], str]


class Bench:
    """One run's folder with its models; `go` runs the loop as step 1 does."""

    def __init__(self, folder: Path, optimizer: LLM | None = None, scorer: LLM | None = None):
        self.folder = folder
        self.optimizer = optimizer or ScriptedLLM(lambda c, seed: mutate_last(c[-1]["content"], seed))
        self.scorer = scorer or ScriptedLLM(toy_reply)

    def prepare(
        self,
        run: str = "run",
        known: list[LogRow] | None = None,
        grader: str = "strict",
        **settings: Any,
    ) -> Run:
        task = toy_task()
        meta = {k: settings.pop(k) for k in list(settings) if k in MetaPromptSettings.__annotations__}
        loop = {k: settings.pop(k) for k in list(settings) if k in LoopSettings.__annotations__}
        seed = settings.pop("seed", 0)
        budgets = settings.pop("scorer_calls", None), settings.pop("optimizer_calls", None)
        self.log = SharedLog(LogFiles(self.folder / "LMtoy", task.name), run)
        self.spending = Spending(self.folder / run / "spent.jsonl")
        scorer = LLMScorer(
            lambda: self.scorer,
            "toy",
            task,
            Decoding(0.0, 1.0, 50, 0),
            grader,
            self.log,
            Budget(max_calls=budgets[0]),
            self.spending,
        ).read_logs(known or [])
        proposer = Proposer(
            lambda: self.optimizer,
            "scripted",
            self.folder / run / "proposals.jsonl",
            seed,
            Budget(max_calls=budgets[1]),
        )
        initial = settings.pop("initial", ("Solve it.",))
        return Run(
            task,
            toy_parts(task),
            LoopSettings(**{"steps": 4, "samples": 4, **loop}),
            MetaPromptSettings(**meta),
            "after",
            initial,
            proposer,
            scorer,
            scorer,
            seed,
            **settings,
        )

    def go(self, run: str = "run", **settings: Any) -> Run:
        prepared = self.prepare(run, **settings)
        with self.log.held():
            done = optimise(prepared)
        report.write_tables(done, self.folder / run, "toy")
        report.write_report(done, self.folder / run, "toy", self.spending)
        return done

    def rows(self) -> list[LogRow]:
        return list(self.log.files.rows())

    def bytes(self, run: str = "run") -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted((self.folder / run).iterdir())}


def gain(run: Run) -> float:
    assert run.winner and run.winner.test and run.candidates[0].test
    return run.winner.test.mean - run.candidates[0].test.mean


def test_the_loop_climbs_and_its_scores_are_the_log(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.go(steps=10, samples=8)
    assert run.best() > run.candidates[0].train.mean + 0.3  # type: ignore[union-attr]
    assert gain(run) > 0.2
    assert run.winner and run.winner.prompt and quality(run.winner.prompt.text) >= 2
    rows = bench.rows()
    assert len({(r.question_id, r.prompt_id) for r in rows}) == len(rows) == len(bench.scorer.asked)  # type: ignore[attr-defined]
    for candidate in run.scored:
        assert candidate.prompt and candidate.train
        of_log = [r.correct for r in rows if r.prompt_id == candidate.prompt.id and r.split == "train"]
        assert len(of_log) == len(run.parts.train) and np.mean(of_log) == pytest.approx(candidate.train.mean)
    assert {r.split for r in rows} == {"train", "validation", "test"}
    test_prompts = {r.prompt_id for r in rows if r.split == "test"}
    assert test_prompts == {run.candidates[0].prompt.id, run.winner.prompt.id}, "test was touched by others"  # type: ignore[union-attr]


def test_the_trajectory_carries_the_information(tmp_path: Path) -> None:
    """An optimizer that builds on the last text shown does worse when the best is shown first."""
    up = Bench(tmp_path / "up").go(steps=10, samples=4)
    down = Bench(tmp_path / "down").go(steps=10, samples=4, order="descending")
    assert up.best() > down.best()


def test_phrase_search_improves_too(tmp_path: Path) -> None:
    run = Bench(tmp_path, PhraseSearch("chat")).go(steps=8, samples=8)
    assert run.best() > run.candidates[0].train.mean + 0.1  # type: ignore[union-attr]


def test_published_meta_prompt_rules_hold_in_the_loop(tmp_path: Path) -> None:
    run = Bench(tmp_path).go(steps=3, exemplar_policy="constant")
    shown = [[q.text for q in run.parts.train if q.text in text] for text in run.meta_prompts]
    assert shown[0] == shown[1] == shown[2] and len(shown[0]) == 3
    run = Bench(tmp_path).go("random", steps=3)
    shown = [[q.text for q in run.parts.train if q.text in text] for text in run.meta_prompts]
    assert len({tuple(texts) for texts in shown}) == 3
    for policy in ("hardest", "current_hardest"):
        run = Bench(tmp_path).go(policy, steps=3, exemplar_policy=policy)
        wrong = sum(1 - c.train.values for c in run.scored if c.train and c.step < 2)
        picked = [i for i, q in enumerate(run.parts.train) if q.text in run.meta_prompts[2]]
        assert min(wrong[picked]) >= sorted(wrong)[-3] and "often failed" in run.meta_prompts[2]


def test_early_stopping_and_temperature_schedule(tmp_path: Path) -> None:
    lazy = ScriptedLLM(lambda c, seed: f"<INS>banana {'x' * (seed % 99)}</INS>")
    run = Bench(tmp_path, lazy).go(steps=50, patience=3)
    assert max(c.step for c in run.candidates) == 2 and run.winner is not None
    schedule = LoopSettings(steps=10, temperature=0.5, end_temperature=1.5)
    assert [schedule.temperature_at(i) for i in (0, 5)] == [0.5, 1.0]
    for flags in ({"steps": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"patience": 0}):
        with pytest.raises(InputError, match="--loop"):
            LoopSettings(**flags)  # type: ignore[arg-type]


ODD = [
    "",
    " ",
    "no tags at all",
    "<INS></INS>",
    "<INS>Denk nach \u2014 \u4e00\u6b65\u4e00\u6b65 \U0001f600 \u2019s</INS>",
    "<INS>" + "huge " * 100_000,
    "<INS>\ud800\x00</INS>",
    "<INS>Add 7</INS>",
    "<INS>Solve it.</INS>",
    "</INS><INS>",
    "<INS>Write <INS> there</INS>",
    "<INS>\u2028</INS>",
]


def test_odd_output_is_survived_with_a_reason_each(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ScriptedLLM(lambda c, seed: ODD[seed % len(ODD)]))
    run = bench.go(steps=6, samples=8)
    reasons = Counter(c.verdict for c in run.candidates if c.step != START)
    assert sum(reasons.values()) == 48 and {"duplicate", "no instruction found"} <= set(reasons)
    assert reasons["accepted"] <= 2
    table = read_csv(tmp_path / "run" / "candidates.csv", hint="")
    assert len(table) == 49 and all(row["verdict"] for row in table)
    raw = [json.loads(line) for line in (tmp_path / "run" / "proposals.jsonl").read_text().splitlines()]
    assert len(raw) == 48 and max(len(row["output"]) for row in raw) <= 20_000
    assert len(bench.rows()) == len(bench.scorer.asked)  # type: ignore[attr-defined]


def test_nothing_but_refusals_leaves_the_initial_instruction(tmp_path: Path) -> None:
    run = Bench(tmp_path, ScriptedLLM(lambda c, seed: "I will not.")).go(initial=("", "Solve it."))
    assert run.winner and run.winner.step == START and gain(run) >= 0
    assert (tmp_path / "run" / "report.md").read_text().startswith("# Instructions for toy")
    run = Bench(tmp_path, ScriptedLLM(lambda c, seed: "<INS>Go.</INS>")).go(
        "threshold", threshold=1.0, initial=("banana",)
    )
    assert all("text:\n" in text for text in run.meta_prompts)


def test_same_run_same_bytes_and_a_second_one_pays_nothing(tmp_path: Path) -> None:
    first, second = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    first.go(), second.go()
    assert first.bytes() == second.bytes()
    before, paid = first.bytes(), len(first.scorer.asked)  # type: ignore[attr-defined]
    first.go()
    assert first.bytes() == before and len(first.scorer.asked) == paid  # type: ignore[attr-defined]
    first.go("again")  # another run on the same log: proposals are asked anew, answers are not
    assert len(first.scorer.asked) == paid  # type: ignore[attr-defined]
    spent = [json.loads(line) for line in (tmp_path / "a" / "again" / "spent.jsonl").read_text().splitlines()]
    assert sum(row["asked"] for row in spent) == 0 < sum(row["needed"] for row in spent)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PhraseSearch("chat"))
    texts = [[c.prompt.text for c in bench.go(f"s{seed}", seed=seed).scored if c.prompt] for seed in (0, 1)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("limit", [0, 1, 29, 30, 47, 200, 333])
def test_scorer_budget_stops_exactly_and_the_run_goes_on(tmp_path: Path, limit: int) -> None:
    whole = Bench(tmp_path / "whole")
    whole.go()
    bench = Bench(tmp_path / "part")
    run = bench.go(scorer_calls=limit)
    assert len(bench.scorer.asked) == limit and f"--max_calls {limit}" in run.stopped  # type: ignore[attr-defined]
    assert "Unfinished" in (tmp_path / "part" / "run" / "report.md").read_text() and run.winner is None
    assert not bench.go().stopped
    assert len(bench.scorer.asked) == len(whole.scorer.asked)  # type: ignore[attr-defined]
    assert bench.bytes() == whole.bytes()
    assert len(bench.optimizer.asked) == len(whole.optimizer.asked)  # type: ignore[attr-defined]


@pytest.mark.parametrize("limit", [1, 4, 7])
def test_optimizer_budget_stops_exactly_and_the_run_goes_on(tmp_path: Path, limit: int) -> None:
    whole, bench = Bench(tmp_path / "whole"), Bench(tmp_path / "part")
    whole.go()
    assert "the optimizer's --max_calls" in bench.go(optimizer_calls=limit).stopped
    assert len(bench.optimizer.asked) == limit  # type: ignore[attr-defined]
    bench.go()
    assert bench.bytes() == whole.bytes() and len(bench.optimizer.asked) == 16  # type: ignore[attr-defined]


class Flaky(ScriptedLLM):
    """Fails for good wherever `fails` says so."""

    def __init__(self, reply: Any, fails: Callable[[str, int], bool]):
        super().__init__(reply)
        self.fails = fails

    def generate(self, conversations: Any, **settings: Any) -> list[Generation]:
        answers = super().generate(conversations, **settings)
        fails = [self.fails(c[-1]["content"], s) for c, s in zip(conversations, settings["seeds"])]
        return [Generation("", "error", 0, 0) if failed else a for a, failed in zip(answers, fails)]


def test_failing_calls_lose_nothing(tmp_path: Path) -> None:
    whole, bench = Bench(tmp_path / "whole"), Bench(tmp_path / "part")
    whole.go()
    bench.scorer = Flaky(toy_reply, lambda text, seed: pick(text) % 5 == 0)
    with pytest.raises(InputError, match="still missing: .*; run the same command again"):
        bench.go()
    answered = {(r.question_id, r.prompt_id) for r in bench.rows()}
    assert answered
    bench.scorer = ScriptedLLM(toy_reply)
    bench.go()
    assert bench.bytes() == whole.bytes()
    assert len(bench.scorer.asked) == len(whole.rows()) - len(answered)


def test_a_sample_that_fails_for_good_is_left_out_and_all_failing_stops(tmp_path: Path) -> None:
    def mutate(conversation: Any, seed: int) -> str:
        return mutate_last(conversation[-1]["content"], seed)

    bench = Bench(tmp_path, Flaky(mutate, lambda text, seed: seed % 3 == 0))
    run = bench.go(steps=6)
    lines = [json.loads(line) for line in (tmp_path / "run" / "proposals.jsonl").read_text().splitlines()]
    assert len(lines) == 24 and any(c.verdict != "no answer" for c in run.candidates)
    with pytest.raises(InputError, match="the optimizer scripted gave no answer at step 0"):
        Bench(tmp_path, Flaky(mutate, lambda text, seed: True)).go("all")


@pytest.mark.parametrize("cut", ["torn", "lines"])
def test_killed_anywhere_it_ends_the_same(tmp_path: Path, cut: str) -> None:
    """Any whole number of lines, or half a line, may be all that a kill left of any file."""
    whole = Bench(tmp_path / "whole")
    whole.go(steps=3)
    for place in range(6):
        bench = Bench(tmp_path / f"{cut}{place}")
        bench.go(steps=3)
        (tmp_path / f"{cut}{place}" / "run" / "candidates.csv").unlink()
        log = bench.log.files
        rows = list(interactions.read(log.merged, hint=""))
        kept = rows[: pick(cut, place) % len(rows)]
        log.merged.unlink()
        log.parts_folder.mkdir(exist_ok=True)
        lines = [json.dumps(vars(row)) + "\n" for row in kept]
        bench.log.part.write_text("".join(lines) + ('{"llm": "to' if cut == "torn" else ""))
        for name in ("proposals.jsonl", "spent.jsonl"):
            path = tmp_path / f"{cut}{place}" / "run" / name
            lines = path.read_text().splitlines(keepends=True)
            keep = pick(name, place) % (len(lines) + 1)
            rest = lines[keep][:20] if cut == "torn" and keep < len(lines) else ""
            if name == "spent.jsonl":
                keep, rest = len(lines), ""  # written before the calls it announces
            path.write_text("".join(lines[:keep]) + rest)
        bench.go(steps=3)
        assert bench.bytes() == whole.bytes()


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.go(steps=2)
    with pytest.raises(InputError, match="step 0 answers another meta-prompt"):
        bench.go(steps=2, buckets="20")
    path = tmp_path / "run" / "proposals.jsonl"
    path.write_text('{"step": 0}\n')
    with pytest.raises(InputError, match=r"proposals.jsonl:1: fields are missing"):
        bench.go(steps=2)


def test_answers_of_known_logs_and_other_graders_count(tmp_path: Path, capsys: Any) -> None:
    bench = Bench(tmp_path / "a")
    bench.go()
    rows = bench.rows()
    other = Bench(tmp_path / "b")
    other.go(known=rows)
    assert not other.scorer.asked  # type: ignore[attr-defined]
    mixed = [LogRow(**{**vars(r), "temperature": 0.7}) for r in rows]
    third = Bench(tmp_path / "c")
    third.go(known=mixed)
    assert third.scorer.asked, "answers of another decoding are no answers"  # type: ignore[attr-defined]
    assert "--known_log holds no answer of llm toy" in capsys.readouterr().err
    wrong = [LogRow(**{**vars(r), "gold": "-1", "correct": 0.0}) for r in rows]
    regraded = Bench(tmp_path / "e").go(known=wrong)
    assert regraded.best() > 0, "verdicts on another gold answer are drawn anew"
    lenient = bench.go("lenient", grader="opro")
    assert len(bench.scorer.asked) == len(rows) and lenient.best() > 0  # type: ignore[attr-defined]
    rows[0].question = "something else"
    with pytest.raises(InputError, match="is another question there"):
        Bench(tmp_path / "d").go(known=rows)


def test_logs_of_two_runs_at_once_are_merged_by_the_last(tmp_path: Path) -> None:
    one, two = Bench(tmp_path), Bench(tmp_path)
    prepared = one.prepare("one"), two.prepare("two")
    with one.log.held():
        with two.log.held():
            optimise(prepared[1])
        assert not two.log.files.merged.exists(), "merged while another run was writing"
        optimise(prepared[0])
    rows = interactions.read(one.log.files.merged, hint="")
    assert len({(r.question_id, r.prompt_id) for r in rows}) == len(rows) and not one.log.files.parts()


class Predicting:
    """A scorer that predicts and leaves candidates out: room for reward_model and hybrid scorers."""

    name = "hybrid"

    def score(
        self, prompts: Any, asked: Any, step: int, part: str, limit: int | None = None
    ) -> list[Score | None]:
        values = [np.full(len(asked), quality(p.text) / len(HELPFUL)) for p in prompts]
        return [None if i % 4 == 3 else Score(v, "predicted", 0.1) for i, v in enumerate(values)]


def test_a_predicting_scorer_fits_in_and_leaves_the_log_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.prepare(steps=5, samples=8)
    run.scorer = Predicting()
    with bench.log.held():
        optimise(run)
    report.write_tables(run, tmp_path / "run", "predicted")
    table = read_csv(tmp_path / "run" / "trajectory.csv", hint="")
    assert {row["kind"] for row in table} == {"predicted"}
    assert len(table) < sum(c.verdict in ("accepted", "initial") for c in run.candidates)
    assert {r.split for r in bench.rows()} == {"validation", "test"} and gain(run) > 0


def test_meta_prompt_of_a_step_can_be_made_again(tmp_path: Path) -> None:
    run = Bench(tmp_path).go(steps=2)
    again = Run(**{**vars(run), "candidates": [c for c in run.candidates if c.step < 1]})
    assert step_meta_prompt(again, 1) == run.meta_prompts[1]
    assert toy_answer(run.parts.train[0].text + "\n").startswith("The answer is")


def test_pooled_gain_is_the_mean_over_runs_and_questions() -> None:
    tables = [
        [
            {"question_id": str(i), "group": str(i // 2), "initial": "0", "winner": str((i + run) % 2)}
            for i in range(40)
        ]
        for run in range(3)
    ]
    gain = report.pooled_gain(tables)
    assert gain and gain["value"] == pytest.approx(0.5) and (gain["n"], gain["groups"]) == (40, 20)
    assert gain["ci_low"] == gain["ci_high"] == gain["value"], "every group has the same gain"
    assert report.pooled_gain([[], []]) is None


def test_a_shorter_run_in_the_same_folder_counts_its_own_calls(tmp_path: Path) -> None:
    bench, alone = Bench(tmp_path / "both"), Bench(tmp_path / "alone")
    bench.go(steps=4), bench.go(steps=2), alone.go(steps=2)
    reports = [(b.folder / "run" / "report.md").read_text() for b in (bench, alone)]
    needed = alone.spending.total("needed")
    assert (
        f"of {needed:,} answers had to be asked for" in reports[0]
        and bench.spending.total("needed") == needed
    )
    assert "with other --loop.steps asked for" in reports[0] and "other --loop.steps" not in reports[1]


def test_proposals_of_another_temperature_or_optimizer_are_not_replayed(tmp_path: Path) -> None:
    Bench(tmp_path).go(steps=1)
    with pytest.raises(
        InputError,
        match="step 0 was proposed by scripted at temperature 1 and top_p 1, not by scripted at 0.5",
    ):
        Bench(tmp_path).go(steps=1, temperature=0.5)


def test_an_instruction_longer_than_the_window_is_named_before_anything_is_asked(
    tmp_path: Path, capsys: Any
) -> None:
    model, tokenizer = toy.make_model(0)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    bench = Bench(tmp_path, scorer=TransformersLLM.of(model, tokenizer, 60, 8))
    run = bench.prepare()
    long = Prompt("x1", "really\x1b[2J " * 50)
    with pytest.raises(
        InputError, match=r"instruction x1 \(really \[2J .*tokens, and the scorer reads 60: shorten"
    ):
        run.scorer.score([Prompt("ok", "Go."), long], run.parts.test, -1, "test")
    assert not bench.rows()
    run.scorer.score([long], run.parts.test[:1], 3, "test")
    assert "warning: instruction x1" in capsys.readouterr().err


def test_odd_rows_of_a_log_are_named(tmp_path: Path) -> None:
    Bench(tmp_path).go(steps=1)
    path = Bench(tmp_path).prepare() and tmp_path / "LMtoy" / "toy_interactions.jsonl"
    lines = path.read_text().splitlines()
    for change, said in (
        ({"top_p": 0.0}, ":2: temperature 0.0 and top_p 0.0"),
        ({"correct": float("nan")}, ":2: correct is nan"),
        ({"position": "behind"}, ":2: position is 'behind'"),
        ({"max_new_tokens": 0}, ":2: --max_gen_len 0"),
    ):
        odd = tmp_path / "odd.jsonl"
        odd.write_text(lines[0] + "\n" + json.dumps(json.loads(lines[1]) | change) + "\n")
        with pytest.raises(InputError, match=f"odd.jsonl{said}.*correct --known_log"):
            runs.read_logs("--known_log", [odd])
