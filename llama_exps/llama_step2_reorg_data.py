"""Step 2: turn the released LLaMA-2 logs (or any interaction log) into labels, clusters and folds.

    cd llama_exps
    python llama_step2_reorg_data.py                       # gsm8k, svamp and mawps of LLaMA-2
    python llama_step2_reorg_data.py --dataset gsm8k       # one of them

Reads data/fetched/ (see scripts/fetch_data.py), checks every line of it, proves the row order by grading the
stored answers again, and writes llama_exps/LMllama2/: the interaction log, label matrices, questions,
near-duplicate clusters and folds. With another --llm it reads LM<llm>/<dataset>_interactions.jsonl, or the
Parquet files below data/logs/llm=<llm>/dataset=<dataset>/ (scripts/convert_log.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.data import interactions, log_store, questions, released
from prompt_oirl.data.prompts import PUBLISHED, load_prompts
from prompt_oirl.io.files import REPO_ROOT, Paths
from prompt_oirl.io.manifest import Manifest, run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.reorganise import reorganise


@dataclass
class Args:
    llm: str = released.LLM
    """Whose log. llama2 is imported from the released files."""
    dataset: str = "all"
    """all, or a comma list such as gsm8k,svamp."""
    prompts: Path = PUBLISHED
    """CSV of prompts (columns prompt_id, role, position, text)."""
    original_layout: bool = False
    """Also write the published step 2's label vectors, one .npy file per split and prompt."""
    root: Path = REPO_ROOT
    """Folder that holds data/, llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    folder = paths.labels(args.llm)
    logs = log_store.find_logs(args.llm, paths)
    to_import = questions.RELEASED if args.llm == released.LLM else ()
    logs = {name: folder / f"{name}{log_store.MERGED}" for name in to_import} | {
        name: log for name, log in logs.items() if name not in to_import
    }
    name = "<dataset>" if args.dataset == "all" else args.dataset
    missing = f"put a log at {folder / f'{name}{log_store.MERGED}'} (llama_step1_gen_offline.py makes one)"
    for dataset in offline_dataset.parse_datasets(args.dataset, list(logs), missing):
        log, imported = logs[dataset], dataset in to_import
        inputs = released.source_files(dataset, paths) if imported else interactions.files_of(log)
        settings = {"llm": args.llm, "dataset": dataset, "original_layout": args.original_layout}
        manifest = Manifest(folder / f"{dataset}_step2.json", settings, [args.prompts, *inputs], args.root)
        if manifest.is_current() and not args.force:
            print(f"{dataset}: up to date ({folder})")
            continue
        prompts = load_prompts(args.prompts)
        outputs = released.import_log(dataset, prompts, paths) if imported else []
        outputs += reorganise(args.llm, dataset, prompts, log, paths, args.original_layout)
        manifest.finish(outputs)


if __name__ == "__main__":
    run_step(main, Args)
