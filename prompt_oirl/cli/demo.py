"""`prompt-oirl demo`: a tour of the commands on the log that comes with the package."""

from __future__ import annotations

import gzip
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from prompt_oirl.cli.commands import Command
from prompt_oirl.cli.output import say, write_stdout
from prompt_oirl.io.files import InputError, atomic_write

ABOUT = "`prompt-oirl demo` made this folder. Nothing in it is needed: delete it when you have seen enough.\n"
NEW = 5
TOUR = (
    ("Is it worth it to choose a prompt per question? The verdict comes first.", "diagnose {log}"),
    ("Learn which prompt suits which question, and save that.", "fit {log} --out {selector}"),
    (
        f"Choose a prompt for each of {NEW} new questions; probability: how likely its answer is right.",
        "select {selector} {questions}",
    ),
    (
        "Measure on unseen questions what the choice is worth, beside the best single prompt.",
        "evaluate {log}",
    ),
    ("Put all of it on one page.", "report {log} --out {page}"),
)
BEFORE = """\
A tiny language model answered 300 questions with four prompts; 30 % of the answers are missing, as in real
logs. {log} has one row per answer: question, prompt, correct, answer.
"""
AFTER = """
Now open {page} in a browser.

For your own log bring such a table, as CSV, JSON lines, Parquet or .xlsx, with the columns question, prompt
and correct (0 to 1), and begin with

$ prompt-oirl diagnose my_log.csv

`prompt-oirl import --help` reads the files of evaluation tools, `prompt-oirl grade --help` fills in correct.
"""


@dataclass(kw_only=True)
class Demo:
    """Run the commands on a log that comes along, offline, and say what each one shows (about a minute).

    example: prompt-oirl demo
    """

    out: Path = Path("prompt-oirl-demo")
    """Folder for the log and what is made of it."""
    embedder: str | None = None
    """How questions are described, as in the other commands; default: minilm where its files can be had, else
    tfidf."""

    def run(self) -> None:
        """Show every command as one would type it, then run it."""
        from prompt_oirl.examples import LOG, QUESTIONS

        about = self.out / "README.txt"
        self._check(about)
        self.out.mkdir(parents=True, exist_ok=True)
        files = {
            "log": "log.csv",
            "questions": "questions.csv",
            "selector": "selector",
            "page": "report.html",
        }
        paths = {key: self.out / name for key, name in files.items()}
        texts = {
            about: ABOUT.encode(),
            paths["log"]: gzip.decompress(LOG.read_bytes()),
            paths["questions"]: b"".join(QUESTIONS.read_bytes().splitlines(keepends=True)[: NEW + 1]),
        }
        for path, text in texts.items():
            with atomic_write(path) as temporary:
                temporary.write_bytes(text)
        write_stdout(BEFORE.format(**paths))
        embedder = self.embedder or _embedder()
        for number, (sentence, template) in enumerate(TOUR, 1):
            typed = [word.format(**paths) for word in template.split()]
            if embedder != "minilm":
                typed += ["--embedder", embedder]
            write_stdout(f"\n{number}. {sentence}\n\n$ prompt-oirl {shlex.join(typed)}\n")
            options: dict[str, Any] = {"prog": "prompt-oirl", "use_underscores": True}
            tyro.cli(Command, args=typed, **options).run()  # type: ignore[call-overload]
        write_stdout(AFTER.format(**paths))

    def _check(self, about: Path) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file: choose a folder with --out")
        ours = about.is_file() and about.read_bytes() == ABOUT.encode()
        if self.out.is_dir() and any(self.out.iterdir()) and not ours:
            raise InputError(f"{self.out} holds other files: choose an empty or new folder with --out")


def _embedder() -> str:
    from prompt_oirl.features.minilm_files import minilm_folder

    try:
        minilm_folder()
    except InputError as error:
        say(f"note: the tour goes with --embedder tfidf, because {error}")
        return "tfidf"
    return "minilm"
