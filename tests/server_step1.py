"""Step 1 against a misbehaving server, and its back end alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from in_process import run_in_process
from misbehaving_server import MisbehavingServer, Reply, error

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT
from prompt_oirl.io.json_files import read_json
from prompt_oirl.llms import Decoding, Generation
from prompt_oirl.llms.budget import Budget, ask
from prompt_oirl.llms.openai_llm import OpenAILLM

KEY = "sk-secret-of-the-test"
DECODING = Decoding(0.6, 0.9, 50)
QUESTIONS = 12
QUOTA = error("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")


class Step1:
    """Step 1 on twelve questions and one prompt."""

    def __init__(self, root: Path, server: MisbehavingServer):
        self.root, self.server = root, server
        lines = [f"What is question{i} + 1?,7,{'train' if i % 2 else 'test'}\n" for i in range(QUESTIONS)]
        (root / "q.csv").write_text("question,gold,split\n" + "".join(lines))

    def flags(self) -> list[str]:
        given = [
            "--backend",
            "openai",
            "--model",
            "m",
            "--base_url",
            self.server.url,
            "--root",
            str(self.root),
        ]
        given += ["--dataset_eval", "toy", "--questions", str(self.root / "q.csv"), "--prompt_idx", "0"]
        return [*given, "--max_gen_len", "50"]

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "llama_step1_gen_offline.py", *self.flags(), *flags]
        env = {**os.environ, "OPENAI_API_KEY": KEY}
        done = run_in_process(command, REPO_ROOT / "llama_exps", env)
        assert KEY not in done.stdout + done.stderr and "Traceback" not in done.stderr
        return done

    @property
    def folder(self) -> Path:
        return self.root / "llama_exps" / "LMm"

    def rows(self) -> list[interactions.LogRow]:
        return interactions.read(self.folder / "toy_interactions.jsonl", hint="")

    def rows_if_any(self) -> list[interactions.LogRow]:
        return self.rows() if (self.folder / "toy_interactions.jsonl").is_file() else []

    def manifest(self) -> dict[str, Any]:
        return read_json(self.folder / "toy_model.json", hint="")

    def requests(self) -> int:
        return sum(self.server.requests.values())


def about(number: int, reply: Reply) -> Callable[[dict[str, Any]], Reply | None]:
    """A server that replies so to one question, and answers the others."""
    return lambda body: reply if f"question{number} " in body["messages"][-1]["content"] else None


def asked(n: int, text: str = "What is question") -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": f"{text}{i} + 1?"}] for i in range(n)]


def answers(llm: OpenAILLM, n: int, budget: Budget | None = None) -> list[Generation | None]:
    return ask(llm, asked(n), budget or Budget(), decoding=DECODING, seeds=range(n))
