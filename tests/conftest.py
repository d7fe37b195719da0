"""Shared fixtures: the released logs where they lie, and a tiny log of our own everywhere."""

from __future__ import annotations

import os

# One thread a library, before any is loaded: test processes side by side would otherwise fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from in_process import run_in_process
from misbehaving_server import MisbehavingServer

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.io.files import REPO_ROOT, Paths

if TYPE_CHECKING:
    import torch

# A shell that starts the tests in the background makes its jobs ignore Ctrl-C, and with them the commands
# under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["serving_process"]

THINGS = ("apples", "coins", "books", "shells", "stamps", "pencils", "cards", "marbles")
NAMES = ("Ann", "Bob", "Cem", "Dora", "Eli", "Fay", "Gus", "Hana")
STORIES = (
    "{n} has {a} {t} and finds {b} more. How many {t} does {n} have in total?",
    "{n} had {a} {t} and gave {b} of them away before lunch. How many {t} are left?",
    "Each of {a} boxes holds {b} {t}. {n} counts them all. How many {t} are there?",
    "{n} buys {b} {t} for {a} dollars each on Monday. How much does {n} pay for the {t}?",
)


def mirror_folder() -> Path | None:
    """The released logs: PROMPT_OIRL_MIRROR, or ../shared/mirror beside the checkout."""
    named = os.environ.get("PROMPT_OIRL_MIRROR")
    folder = Path(named) if named else REPO_ROOT.parent / "shared" / "mirror"
    return folder if (folder / "Prompt-OIRL").is_dir() else None


@pytest.fixture(scope="session")
def mirror() -> Path:
    folder = mirror_folder()
    if folder is None:
        pytest.skip("the released logs are not here: set PROMPT_OIRL_MIRROR")
    return folder


@pytest.fixture(scope="session")
def real_root(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose data/fetched/ is the mirror."""
    root = tmp_path_factory.mktemp("real")
    fetched = Paths(root).fetched
    fetched.mkdir(parents=True)
    for name in ("Prompt-OIRL", "grade-school-math", "SVAMP"):
        (fetched / name).symlink_to(mirror / name)
    return root


def tiny_interactions(n_train: int = 60, n_test: int = 24, seed: int = 0) -> list[LogRow]:
    """A log of word problems, three training and two held-out prompts, whose success depends on both."""
    rng = np.random.default_rng(seed)
    published = load_prompts()
    prompts = published[:3] + published[6:8]
    rows = []
    for i in range(n_train + n_test):
        split = "train" if i < n_train else "test"
        a, b = (int(x) for x in rng.integers(2, 99, 2))
        story = STORIES[i % len(STORIES)]
        text = story.format(n=NAMES[i % len(NAMES)], t=THINGS[(i // 3) % len(THINGS)], a=a, b=b)
        for j, prompt in enumerate(prompts):
            if split == "train" and prompt.role == "held_out":
                continue
            chance = 0.75 - 0.1 * j - 0.004 * b + (0.2 if i % len(STORIES) == j else 0)
            rows.append(
                LogRow(
                    llm="tiny",
                    dataset="toy",
                    split=split,
                    question_id=f"toy-{i}",
                    question=text,
                    gold=str(a + b),
                    prompt_id=prompt.id,
                    prompt=prompt.text,
                    correct=float(rng.random() < chance),
                    answer=f"The answer is {a + b}.",
                )
            )
    return rows


def write_tiny_log(root: Path, **sizes: int) -> Path:
    path = Paths(root).labels("tiny") / "toy_interactions.jsonl"
    interactions.write(path, tiny_interactions(**sizes))
    return path


STEPS = {
    2: "llama_step2_reorg_data.py",
    3: "llama_step3_data_processing.py",
    4: "llama_step4_offline_evaluation.py",
    5: "llama_step5_offline_optimization.py",
}
# Flags that make a step quick: no sentence model, one process.
QUICK = {2: [], 3: ["--embedder", "tfidf"], 4: ["--jobs", "1"], 5: []}


def step_command(number: int, root: Path, *flags: str) -> list[str]:
    """A step script with the flags that make it quick, on the tiny log unless flags say otherwise."""
    log = [] if "--llm" in flags else ["--llm", "tiny"]
    return [sys.executable, STEPS[number], "--root", str(root), *log, *QUICK[number], *flags]


def run_step(
    number: int, root: Path, *flags: str, check: bool = True, own_process: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a step script as a user would; in this process unless `own_process`, which it needs for workers."""
    command, cwd = step_command(number, root, *flags), REPO_ROOT / "llama_exps"
    if own_process:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    else:
        result = run_in_process(command, cwd)
    if check:
        assert result.returncode == 0, result.stderr + result.stdout
    return result


# A tiny LLaMA with random weights, in the layout of Meta's download.
META_SIZE = {"dim": 64, "n_layers": 2, "n_heads": 4, "norm_eps": 1e-5, "multiple_of": 32, "vocab_size": -1}
META_FEED_FORWARD = 96


@pytest.fixture(scope="session")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentencepiece

    folder = tmp_path_factory.mktemp("sentencepiece")
    lines = [
        f"Ann has {i} apples and finds {i * 7 % 90} more. The answer is: [INST] [/INST]" for i in range(500)
    ]
    (folder / "corpus.txt").write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


@pytest.fixture(scope="session")
def meta_state() -> dict[str, torch.Tensor]:
    """Random weights in Meta's layout."""
    import torch

    generator = torch.Generator().manual_seed(0)
    dim, ff = META_SIZE["dim"], META_FEED_FORWARD

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.15

    state = {
        "tok_embeddings.weight": random(300, dim),
        "output.weight": random(300, dim),
        "norm.weight": 1 + random(dim),
    }
    for layer in range(META_SIZE["n_layers"]):
        for name, shape in (
            ("attention.wq", (dim, dim)),
            ("attention.wk", (dim, dim)),
            ("attention.wv", (dim, dim)),
            ("attention.wo", (dim, dim)),
            ("feed_forward.w1", (ff, dim)),
            ("feed_forward.w2", (dim, ff)),
            ("feed_forward.w3", (ff, dim)),
        ):
            state[f"layers.{layer}.{name}.weight"] = random(*shape)
        state[f"layers.{layer}.attention_norm.weight"] = 1 + random(dim)
        state[f"layers.{layer}.ffn_norm.weight"] = 1 + random(dim)
    return state


def write_meta_folder(folder: Path, state: dict[str, torch.Tensor], shards: int, tokenizer: Path) -> Path:
    """Cut the weights over shards as model parallelism does: by rows or by columns."""
    import torch

    by_column = ("tok_embeddings", "wo", "w2")
    for shard in range(shards):
        part = {}
        for name, value in state.items():
            if "norm" in name:
                part[name] = value
            else:
                axis = 1 if name.split(".")[-2] in by_column else 0
                part[name] = value.chunk(shards, dim=axis)[shard].clone()
        part["rope.freqs"] = torch.zeros(8)
        torch.save(part, folder / f"consolidated.{shard:02d}.pth")
    (folder / "params.json").write_text(json.dumps(META_SIZE))
    (folder / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    return folder


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    server = MisbehavingServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
