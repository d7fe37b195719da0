"""The published sizes, thresholds and limits: golden values, what wins over them, and what is recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
from in_process import run_in_process
from misbehaving_server import MisbehavingServer
from opro_toy import toy_task
from test_opro_steps import Runner, reply_to

from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.opro import tasks
from prompt_oirl.opro.presets import published

sys.path.append(str(REPO_ROOT / "opro_exps"))
from opro_step1_optimize_prompts import Args, defaults

SCORER = ["--scorer.ckpt_dir", "folder/m"]


def parsed(*flags: str) -> Args:
    own = defaults(Args, list(flags))
    return tyro.cli(
        Args, args=[*SCORER, *flags], use_underscores=True, **({} if own is None else {"default": own})
    )


def unsplit(n: int) -> tasks.QuestionTask:
    """As BIG-Bench Hard brings its questions: without splits, each a group of its own."""
    asked = (Question(f"q{i}", f"Is number {i} odd?", "yes", "test", "bool", f"g{i}") for i in range(n))
    return tasks.QuestionTask("bbh_toy", tuple(asked), "toys")


def test_the_published_values() -> None:
    args = parsed("--preset", "paper", "--task", "gsm8k")
    assert (args.loop.steps, args.loop.samples, args.loop.temperature) == (200, 8, 1.0)
    assert (args.meta.max_pairs, args.meta.buckets, args.meta.exemplars) == (20, "100", 3)
    assert (args.meta.threshold, args.max_gen_len, args.second_round) == (0.3, 1024, False)
    assert int(args.train_size * 7473) == 261 and args.validation_size == 0 and args.test_size == 1.0
    assert (args.temperature, args.optimizer_max_gen_len, args.position) == (0.0, 512, "before")
    pretrained = parsed("--preset=paper-pretrained", "--task=bbh_snarks")
    assert (pretrained.meta.threshold, pretrained.max_gen_len, pretrained.second_round) == (0.01, 256, True)
    assert pretrained.position == "answer_start" and pretrained.train_size == 0.2


def test_a_fifth_of_bbh_is_trained_on_and_the_rest_is_test() -> None:
    sizes = (published("paper", "bbh_toy")[f"{part}_size"] for part in ("train", "validation", "test"))
    parts = tasks.divide(unsplit(250), *sizes, 0)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [50, 0, 200]
    assert not {q.id for q in parts.train} & {q.id for q in parts.test}


def test_flags_that_are_given_win_over_the_preset() -> None:
    args = parsed(
        "--preset", "paper", "--loop.steps", "7", "--train_size", "40", "--meta.threshold", "0.15",
        "--scorer.max_seq_len", "99", "--no-second_round",
    )  # fmt: skip
    assert (args.loop.steps, args.loop.samples, args.train_size, args.meta.threshold) == (7, 8, 40, 0.15)
    assert args.scorer.max_seq_len == 99 and args.scorer.ckpt_dir == "folder/m"
    assert isinstance(args.train_size, int) and isinstance(parsed("--train_size", "0.5").train_size, float)
    usual = parsed()
    assert (usual.loop.steps, usual.train_size, usual.preset) == (Args().loop.steps, 50, None)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ((0.0, 5, 5), "--train_size 0.0: give a share"),
        ((5, 5, 1.5), "--test_size 1.5: give a share"),
        ((0, 5, 5), "--train_size 0: give 1 or more"),
        ((5, -1, 5), "--validation_size -1: give 0 or more"),
    ],
)
def test_sizes_that_cannot_be(sizes: tuple[Any, Any, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        tasks.divide(toy_task(), *sizes, 0)


def test_a_run_by_the_preset_records_what_it_used(tmp_path: Path, server: MisbehavingServer) -> None:
    """No validation part: the best on train wins."""
    server.reply_to = reply_to
    runner = Runner(tmp_path / "root", server)
    small = ["--preset", "paper", "--position", "after", "--loop.steps", "2", "--test_size", "20"]
    command = runner.command("opro_step1_optimize_prompts.py", *small)
    optimizer = ["--optimizer.backend", "openai", "--optimizer.model", "o"]
    command += [*optimizer, "--optimizer.base_url", server.url]
    done = run_in_process(command, REPO_ROOT / "opro_exps", runner.environment())
    assert done.returncode == 0 and "Chosen on train" in done.stdout, done.stderr
    settings = json.loads((runner.folder / "seed0" / "run.json").read_text())
    assert settings["preset"] == "paper" and settings["train_size"] == 0.2 and settings["test_size"] == 20
    assert settings["meta"]["threshold"] == 0.3 and settings["max_gen_len"] == 1024
    assert {row.split for row in runner.rows()} == {"train", "test"}
    assert len({row.question_id for row in runner.rows() if row.split == "train"}) == 6, "a fifth of 30"
