"""Speed, measured side by side in one run: what users did before, and what this project does.

    python scripts/bench.py                       # everything this machine can show; updates results/reference/bench.csv
    python scripts/bench.py --parts generation

Each line is the median of interleaved repeats, so that both sides see the same load (`repeats` 1: once). Only the
ratio means anything on another machine. Parts: generation, step4_one, step4_profile, step4_sweep, embedding, selection, logs, scale, cluster;
all but the first and `scale` need the released logs after steps 2 and 3.
"""

from __future__ import annotations

import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_logs
import bench_serving
import bench_training
import numpy as np
import psutil

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import check_finished, run_step
from prompt_oirl.reports.readme import fill_tables, markdown

COLUMNS = ["work", "baseline", "ours", "ratio", "unit", "n", "repeats", "machine"]


@dataclass
class Args:
    parts: str = "all"
    """all, or a comma list."""
    repeats: int = 3
    """Repeats of each side."""
    out: Path = REPO_ROOT / "results" / "reference" / "bench.csv"
    """Table to update; lines of other parts stay."""


def main(args: Args) -> None:
    chosen = list(PARTS) if args.parts == "all" else args.parts.split(",")
    unknown = set(chosen) - set(PARTS)
    if unknown:
        raise InputError(f"--parts {args.parts}: choose all or from {', '.join(PARTS)}")
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: give 1 or more")
    if set(chosen) - WITHOUT_LOGS:
        for dataset in RELEASED:
            for step in (2, 3):
                manifest = Paths().labels(LLM) / f"{dataset}_step{step}.json"
                check_finished(manifest, REPO_ROOT, "run scripts/fetch_data.py, then steps 2 and 3")
    signal.signal(signal.SIGTERM, end_children)
    lines = (
        {row["work"] + row["unit"]: row for row in read_csv(args.out, remedy="")}
        if args.out.is_file()
        else {}
    )
    for part in chosen:
        for line in PARTS[part](args.repeats):
            row = {"machine": machine(), "repeats": args.repeats, **line}
            print(
                f"{row['work']}: {row['baseline']:,.4g} -> {row['ours']:,.4g} {row['unit']}, ratio {row['ratio']:.3g}"
            )
            lines[row["work"] + row["unit"]] = row
            write_csv(args.out, lines.values(), COLUMNS)
    if args.out.resolve().parent == REPO_ROOT / "results" / "reference":
        fill_tables(REPO_ROOT, tables(read_csv(args.out, remedy="")))


def end_children(*_: object) -> None:
    """End the processes that a part has started, and this one after them."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    raise SystemExit(128 + signal.SIGTERM)


def tables(lines: list[dict[str, str]]) -> dict[str, str]:
    """The lines as tables of README and docs: parts of a fit, sizes of logs, everything else."""
    found: dict[str, list[list[str]]] = {"profile": [], "scale": [], "bench": []}
    for line in lines:
        name = (
            "profile"
            if line["work"].startswith("step 4, GSM8K,")
            else "scale"
            if " from files on " in line["work"]
            else "bench"
        )
        numbers = [
            f"{float(line[c]):,.3g}" if float(line[c] or 0) < 1000 else f"{float(line[c]):,.0f}"
            for c in ("baseline", "ours", "ratio")
            if line[c]
        ]
        work, unit = line["work"], line["unit"]
        if name == "scale":
            found[name].append(
                [
                    work.split("; baseline")[0],
                    numbers[-1] if len(numbers) == 1 else numbers[1],
                    unit,
                    numbers[2] if len(numbers) == 3 else "",
                ]
            )
        else:
            found[name].append([work, *numbers, unit])
    headers = {
        "profile": ["work", "alone", "shared", "ratio", "unit"],
        "scale": ["work", "measured", "unit", "times a tenth of the answers"],
        "bench": ["work", "baseline", "ours", "ratio", "unit"],
    }
    return {name: markdown(headers[name], rows) for name, rows in found.items()}


def machine() -> str:
    import torch

    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    processor = next(
        (
            line.split(":")[1].strip()
            for line in (Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else [])
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores {processor}{device}, Python {platform.python_version()}, torch {torch.__version__}"


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rates(
    baseline: Callable[[], Any], n_baseline: int, ours: Callable[[], Any], n_ours: int, repeats: int
) -> dict[str, Any]:
    """Items per second of both sides, medians over interleaved repeats after one run to warm up."""
    baseline(), ours()
    times = [(seconds(baseline), seconds(ours)) for _ in range(repeats)]
    before, after = (statistics.median(side) for side in zip(*times))
    return {
        "baseline": n_baseline / before,
        "ours": n_ours / after,
        "ratio": (n_ours / after) / (n_baseline / before),
    }


def generation(repeats: int) -> Iterator[dict[str, Any]]:
    """Step 1's batches against the published loop, one dialogue at a time: 64-token prompts, 96 new tokens."""
    from prompt_oirl.llms import random_llama as random
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    for name, size in (
        ("vocabulary 2,000", random.SMALL),
        ("vocabulary 32,000", random.LLAMA2_VOCABULARY_SMALL),
    ):
        with tempfile.TemporaryDirectory() as folder:
            llm = TransformersLLM(str(random.save_random_llama(Path(folder), **size)))
        million = sum(p.numel() for p in llm.model.parameters()) / 1e6
        yield _generation_line(
            llm, f"step 1, random LLaMA of {million:.1f} M parameters, {name}", repeats, (4, 64)
        )
    import torch

    if torch.cuda.is_available():
        yield from _generation_7b(repeats)


def _generation_line(llm: Any, work: str, repeats: int, n: tuple[int, int]) -> dict[str, Any]:
    import torch

    rng = np.random.default_rng(0)
    words = rng.integers(1, llm.model.config.vocab_size, (n[1], 64))
    asked = [[{"role": "user", "content": " ".join(f"w{w}" for w in row)}] for row in words]

    def one_at_a_time() -> None:
        with torch.inference_mode():
            for conversation in asked[: n[0]]:
                ids = torch.tensor([llm.encode(conversation)], device=llm.device)
                llm.model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.6, top_p=0.9,
                    max_new_tokens=96, pad_token_id=0,
                )  # fmt: skip

    def batched() -> None:
        answers = llm.generate(asked, max_new_tokens=96, temperature=0.6, top_p=0.9, seeds=range(n[1]))
        assert all(answer.tokens_out == 96 for answer in answers)

    return {
        "work": work,
        "unit": "questions per second",
        "n": n[1],
        **rates(one_at_a_time, n[0], batched, n[1], repeats),
    }


def _generation_7b(repeats: int) -> Iterator[dict[str, Any]]:
    """LLaMA-2 7B with random weights in bf16; and how near one token at a time comes to reading all weights once."""
    import torch

    from prompt_oirl.llms import random_llama as random
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    with tempfile.TemporaryDirectory() as folder:
        tiny = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
        path = random.save_random_llama(Path(folder), vocab_size=32000, **tiny)
        llm = TransformersLLM(str(path), max_batch_size=64)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        llm.model = random.random_llama(**random.LLAMA2_7B)
    torch.set_default_dtype(torch.float32)
    line = _generation_line(llm, "step 1, random LLaMA-2 7B, bf16", repeats, (2, 64))
    for side in ("baseline", "ours"):
        line[side] *= 96
    yield line | {"unit": "tokens per second"}
    block = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(block)

    def copy() -> None:
        for _ in range(20):
            target.copy_(block)
        torch.cuda.synchronize()

    copy()
    bandwidth = 2 * 20 * block.numel() / min(seconds(copy) for _ in range(5))
    weights = sum(p.numel() * p.element_size() for p in llm.model.parameters())
    limit = bandwidth / weights
    yield {
        "work": "share of the memory-bandwidth limit, 7B: one at a time, and passes over the weights in batches",
        "unit": "share",
        "n": 64,
        "baseline": line["baseline"] / limit,
        "ours": line["ours"] / llm.batch_size / limit,
        "ratio": line["ours"] / line["baseline"] / llm.batch_size,
    }


PARTS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "generation": generation,
    "step4_one": bench_training.step4_one,
    "step4_profile": bench_training.step4_profile,
    "step4_sweep": bench_training.step4_sweep,
    "embedding": bench_serving.embedding,
    "selection": bench_serving.selection,
    "logs": bench_logs.logs,
    "scale": bench_training.scale,
    "cluster": bench_training.cluster,
}
WITHOUT_LOGS = {"generation", "scale"}

if __name__ == "__main__":
    run_step(main, Args)
