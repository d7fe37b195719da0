"""Pack the tiny model's finished log into data/nano_log/ (called by `make nano-log`).

    python scripts/pack_nano_log.py

Wall times are left out, so that the same answers give the same file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from prompt_oirl.data import interactions
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, Paths, sha256, write_json
from prompt_oirl.io.manifest import package_versions, run_step


@dataclass
class Args:
    llm: str = "nano"
    """Name of the log."""
    model: Path = REPO_ROOT / "data" / "nano_llama"
    """Folder of the model that answered."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/ and data/."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    source, target = LogFiles(paths.labels(args.llm), "arith").merged, paths.committed_log(args.llm, "arith")
    rows = interactions.read(source, remedy="run make nano-log")
    interactions.write(target, (replace(row, time=None) for row in rows))
    first = rows[0]
    write_json(
        target.with_name("manifest.json"),
        {
            "rows": len(rows),
            "questions": {
                s: len({r.question_id for r in rows if r.split == s}) for s in ("train", "validation", "test")
            },
            "answers": dict(Counter(f"{r.split}, sample {r.sample}" for r in rows)),
            "prompts": len({r.prompt_id for r in rows}),
            "decoding": {
                "temperature": first.temperature,
                "top_p": first.top_p,
                "max_new_tokens": first.max_new_tokens,
                "seed": first.seed,
            },
            "sha256": {
                p.name: sha256(p)
                for p in (target, args.model / "model.safetensors", args.model / "tokenizer.json")
            },
            "versions": package_versions(["torch", "transformers", "pyarrow"]),
        },
    )
    print(f"{target}: {len(rows):,} answers, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_step(main, Args)
