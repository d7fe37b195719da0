"""Pack a finished log of the tiny model into data/ (called by `make nano-log` and `make opro-log`).

    python scripts/pack_log.py               # answers to the prompts: data/nano_log/
    python scripts/pack_log.py --log opro    # answers to OPRO's instructions: data/nano_opro_log/

Wall times are left out, so that the same answers give the same file. With the second one every run of
`make opro` is a replay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from prompt_oirl.data import interactions
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, Paths, sha256, write_json
from prompt_oirl.io.manifest import package_versions, run_step

SPLITS = ("train", "validation", "test")


@dataclass
class Args:
    log: Literal["nano", "opro"] = "nano"
    """nano: the answers in llama_exps/; opro: those in opro_exps/."""
    llm: str = "nano"
    """Name of the log."""
    model: Path = REPO_ROOT / "data" / "nano_llama"
    """Folder of the model that answered."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, opro_exps/ and data/."""


def main(args: Args) -> None:
    paths, of_opro = Paths(args.root), args.log == "opro"
    folder = paths.opro_log(args.llm) if of_opro else paths.labels(args.llm)
    target = paths.committed_log(f"{args.llm}_opro" if of_opro else args.llm, "arith")
    rows = interactions.read(LogFiles(folder, "arith").merged, hint=f"run make {args.log}-log")
    interactions.write(target, (replace(row, time=None) for row in rows))
    prompts = {"prompts": len({r.prompt_id for r in rows})}
    about: dict[str, Any] = {"rows": len(rows)}
    if of_opro:
        about |= prompts | {"answers": dict(sorted(Counter(r.split for r in rows).items()))}
        decoding, files = ["temperature", "max_new_tokens"], ["model.safetensors"]
    else:
        about["questions"] = {s: len({r.question_id for r in rows if r.split == s}) for s in SPLITS}
        about |= {"answers": dict(Counter(f"{r.split}, sample {r.sample}" for r in rows))} | prompts
        decoding = ["temperature", "top_p", "max_new_tokens", "seed"]
        files = ["model.safetensors", "tokenizer.json"]
    about["decoding"] = {name: getattr(rows[0], name) for name in decoding}
    about["sha256"] = {p.name: sha256(p) for p in (target, *(args.model / file for file in files))}
    about["versions"] = package_versions(["torch", "transformers", "pyarrow"])
    write_json(target.with_name("manifest.json"), about)
    print(f"{target}: {len(rows):,} answers, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_step(main, Args)
