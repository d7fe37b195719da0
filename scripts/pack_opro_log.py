"""Pack the tiny model's answers to OPRO's instructions into data/nano_opro_log/ (called by `make opro-log`).

    python scripts/pack_opro_log.py

Wall times are left out, so that the same answers give the same file. With it every run of `make opro` is a
replay.
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
    root: Path = REPO_ROOT
    """Folder that holds opro_exps/ and data/."""


def main(args: Args) -> None:
    source = LogFiles(Paths(args.root).opro_log(args.llm), "arith").merged
    target = args.root / "data" / f"{args.llm}_opro_log" / "arith.parquet"
    rows = interactions.read(source, remedy="run make opro-log")
    interactions.write(target, (replace(row, time=None) for row in rows))
    model = args.root / "data" / "nano_llama" / "model.safetensors"
    about = {
        "rows": len(rows),
        "prompts": len({r.prompt_id for r in rows}),
        "answers": dict(sorted(Counter(r.split for r in rows).items())),
        "decoding": {"temperature": rows[0].temperature, "max_new_tokens": rows[0].max_new_tokens},
        "sha256": {p.name: sha256(p) for p in (target, model)},
        "versions": package_versions(["torch", "transformers", "pyarrow"]),
    }
    write_json(target.with_name("manifest.json"), about)
    print(f"{target}: {len(rows):,} answers, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_step(main, Args)
