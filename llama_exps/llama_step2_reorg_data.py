"""Step 2: turn the released LLaMA-2 logs (or any interaction log) into labels, clusters and folds.

    cd llama_exps
    python llama_step2_reorg_data.py                       # gsm8k, svamp and mawps of LLaMA-2
    python llama_step2_reorg_data.py --dataset gsm8k       # one of them

Reads data/fetched/ (see scripts/fetch_data.py), checks every line of it, proves the row order by grading the
stored answers again, and writes llama_exps/LMllama2/: the interaction log, label vectors under their published
names, questions, near-duplicate clusters and folds. With another --llm it reads LM<llm>/<dataset>_interactions.jsonl,
or the Parquet files below data/logs/llm=<llm>/dataset=<dataset>/ (scripts/convert_log.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.data import interactions, questions, released
from prompt_oirl.data.prompts import PUBLISHED, Prompt, load_prompts
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_array, write_csv
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
    root: Path = REPO_ROOT
    """Folder that holds data/, llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    folder = paths.labels(args.llm)
    known = [p.name.removesuffix("_interactions.jsonl") for p in sorted(folder.glob("*_interactions.jsonl"))]
    known += [
        p.stem
        for p in sorted(paths.committed_log(args.llm, "x").parent.glob("*.parquet"))
        if p.stem not in known
    ]
    partitions = sorted(
        p.name.removeprefix("dataset=") for p in paths.partitioned_log(args.llm, "*").parent.glob("dataset=*")
    )
    known += [p for p in partitions if p not in known]
    if args.llm == released.LLM:
        known = [*questions.RELEASED, *(name for name in known if name not in questions.RELEASED)]
    name = "<dataset>" if args.dataset == "all" else args.dataset
    missing = f"put a log at {folder / f'{name}_interactions.jsonl'} (llama_step1_gen_offline.py makes one)"
    for dataset in offline_dataset.parse_datasets(args.dataset, known, missing):
        is_released = args.llm == released.LLM and dataset in questions.RELEASED
        log = folder / f"{dataset}_interactions.jsonl"
        committed = paths.committed_log(args.llm, dataset)
        partitioned = paths.partitioned_log(args.llm, dataset)
        if not is_released and not log.is_file():
            log = committed if committed.is_file() else partitioned if partitioned.is_dir() else log
        files = interactions.files_of(log)
        inputs = [args.prompts, *(source_files(dataset, paths) if is_released else files)]
        manifest = Manifest(
            folder / f"{dataset}_step2.json", {"llm": args.llm, "dataset": dataset}, inputs, args.root
        )
        if manifest.is_current() and not args.force:
            print(f"{dataset}: up to date ({folder})")
            continue
        prompts = load_prompts(args.prompts)
        outputs = import_released(dataset, prompts, paths) if is_released else []
        outputs += reorganise(args.llm, dataset, prompts, log, paths)
        manifest.finish(outputs)


def source_files(dataset: str, paths: Paths) -> list[Path]:
    """The fetched files a dataset is made from; missing ones are found again, with a remedy, when read."""
    upstream = paths.fetched / "Prompt-OIRL"
    sources = {
        "gsm8k": "grade-school-math/grade_school_math/data/*.jsonl",
        "svamp": "SVAMP/data/cv_svamp_augmented/*/train.csv",
    }
    patterns = [sources.get(dataset, "SVAMP/data/cv_mawps/*/train.csv")]
    found = [p for pattern in patterns for p in paths.fetched.glob(pattern)]
    logs = list((upstream / "llama_exps" / "llama2_chat_logs" / dataset).glob("*.txt"))
    if not logs:
        raise InputError(f"missing the released {dataset} logs below {upstream}: {questions.FETCH}")
    return [*found, *logs, *(upstream / "critics").glob(f"Processed_llama_{dataset}_*.npy")]


def import_released(dataset: str, prompts: Sequence[Prompt], paths: Paths) -> list[Path]:
    """Write the released logs as interactions, with the replay report and the self-critique scores."""
    folder = paths.labels(released.LLM)
    asked = questions.load_questions(dataset, paths)
    columns = released.read_released(dataset, asked, prompts, paths)
    report = list(released.replay(columns, asked))
    n_test = sum(q.split == "test" for q in asked)
    verdicts, confidences = released.read_critic_scores(dataset, prompts, n_test, paths)
    written = [
        folder / f"{dataset}_{name}"
        for name in ("interactions.jsonl", "replay.csv", "lmsc_verdict.npy", "lmsc_confidence.npy")
    ]
    interactions.write(written[0], released.to_interactions(dataset, columns, asked))
    write_csv(written[1], report, ["prompt_id", "split", "answers", "agree"])
    write_array(written[2], verdicts)
    write_array(written[3], confidences)
    graded, agree = (sum(int(str(row[key])) for row in report) for key in ("answers", "agree"))
    print(f"{dataset}: the published grader repeats {agree:,} of {graded:,} labels from the stored answers")
    return written


if __name__ == "__main__":
    run_step(main, Args)
