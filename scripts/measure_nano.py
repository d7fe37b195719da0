"""The committed tables on the tiny model's log: each prompt, what choosing can bring, and what step 4's
models gain.

    make nano-tables

Reads data/nano_log/ and results/nano/arith/crossfit*/, writes
results/reference/nano_{choice,models,prompts}.csv and the tables of README. The model whose gain counts is
chosen by its within-question AUC on validation rows, never by its gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.arith.nano_tables import MODEL_COLUMNS, RENDER, Answers, choice_rows, model_rows, prompt_rows
from prompt_oirl.data import interactions
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.io.files import REPO_ROOT, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder that holds data/, llama_exps/ and results/."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    log = interactions.read(paths.committed_log("nano", "arith"), hint="run make nano-log")
    prompts = load_prompts(args.root / "data" / "arith" / "prompts.csv")
    arith = args.root / "data" / "arith"
    test = Answers.of("test", log, prompts, arith)
    reference = args.root / "results" / "reference"
    for name, rows in (("prompts", list(prompt_rows(test))), ("choice", list(choice_rows(test)))):
        write_csv(reference / f"nano_{name}.csv", rows)
    write_csv(reference / "nano_models.csv", model_rows(paths), MODEL_COLUMNS)
    tables = {
        name: render(read_csv(reference / f"{name}.csv", hint="run this script again"))
        for name, render in RENDER.items()
    }
    fill_tables(args.root, tables)
    print(tables["nano_choice"], tables["nano_models"], sep="\n")


if __name__ == "__main__":
    run_step(main, Args)
