"""Step 3: embed questions and prompts, build the label matrices and the list of prompt subsets.

    cd llama_exps
    python llama_step3_data_processing.py                      # all-MiniLM-L6-v2 from an installed package
    python llama_step3_data_processing.py --embedder tfidf     # no model at all
    OPENAI_API_KEY=... python llama_step3_data_processing.py --embedder openai:text-embedding-ada-002

Reads llama_exps/LM<llm>/ and writes embeddings/<llm>/<dataset>/, LM<llm>/<dataset>_{train,test}_labels.npy and
LM<llm>/<dataset>_settings.csv. --original_layout adds the per-subset .npy files under their published names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data.released import LLM
from prompt_oirl.features import embedders
from prompt_oirl.features.cache import encode_cached
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, load_array, write_array, write_csv
from prompt_oirl.io.manifest import Manifest, check_finished, run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.offline_dataset import Names
from prompt_oirl.pipeline.original_layout import published_arrays
from prompt_oirl.stats.splits import prompt_subsets, subset_name


@dataclass
class Args:
    llm: str = LLM
    """Whose log."""
    dataset: str = "all"
    """all that went through step 2, or a comma list."""
    embedder: str = "minilm"
    """minilm, minilm-bf16 (faster on some processors), tfidf, openai:MODEL, or a sentence-transformers folder or hub id."""
    original_layout: bool = False
    """Also write the published step 3's per-subset arrays (about 190 MB for three datasets)."""
    assignments: int = 1
    """Fold assignments that tfidf, which is fitted per training part, is prepared for (at most 10)."""
    seed: int = 0
    """Seed of the tfidf embedder's SVD."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""


def main(args: Args) -> None:
    if not 1 <= args.assignments <= offline_dataset.ASSIGNMENTS or args.seed < 0:
        raise InputError(
            f"--assignments {args.assignments} --seed {args.seed}: assignments run from 1 to {offline_dataset.ASSIGNMENTS}, seeds from 0"
        )
    paths = Paths(args.root)
    folder = paths.labels(args.llm)
    known = [p.name.removesuffix("_names.json") for p in sorted(folder.glob("*_names.json"))]
    for dataset in offline_dataset.parse_datasets(args.dataset, known, offline_dataset.STEP2):
        check_finished(folder / f"{dataset}_step2.json", args.root, offline_dataset.STEP2)
        names = offline_dataset.load_names(args.llm, dataset, paths)
        vectors = {
            s: [folder / f"{dataset}_{s}_{p.id}.npy" for p in ps]
            for s, ps in (("train", names.train_prompts), ("test", names.prompts))
        }
        inputs = [
            folder / f"{dataset}_{name}"
            for name in ("names.json", "questions.jsonl", "clusters.csv", "folds.csv")
        ]
        settings = {
            "dataset": dataset,
            "embedder": args.embedder,
            "seed": args.seed,
            "assignments": args.assignments if args.embedder == "tfidf" else 1,
            "original_layout": args.original_layout,
        }
        labels = {
            s: label_matrix(vectors[s], n)
            for s, n in (("train", len(names.train_index)), ("test", len(names.test_index)))
        }
        manifest = Manifest(
            folder / f"{dataset}_step3.json",
            settings,
            [*inputs, *vectors["train"], *vectors["test"]],
            args.root,
        )
        if manifest.is_current() and not args.force:
            print(f"{dataset}: up to date ({folder})")
            continue
        outputs = []
        for split, matrix in labels.items():
            outputs.append(folder / f"{dataset}_{split}_labels.npy")
            write_array(outputs[-1], matrix)
        outputs.append(write_settings(folder / f"{dataset}_settings.csv", names, labels["train"]))
        embedder = embedders.load_embedder(args.embedder, args.seed)
        arrays = embed(embedder, names, args.assignments, paths.embeddings / "cache")
        outputs += embedders.save_embeddings(paths.embeddings / args.llm / dataset, arrays, embedder.info)
        if args.original_layout:
            n = len(names.train_prompts)
            for name, array in published_arrays(
                dataset, labels["train"].astype(bool), labels["test"][:, :n].astype(bool)
            ):
                write_array(folder / name, array)
                outputs.append(folder / name)
        manifest.finish(outputs)
        print(
            f"{dataset}: {len(names.texts):,} distinct questions and {len(names.prompts)} prompts embedded with {embedder.info.name}"
        )


def label_matrix(files: list[Path], n_rows: int) -> np.ndarray:
    """Stack step 2's vectors to float32 (rows, prompts)."""
    columns = [load_array(path, remedy=offline_dataset.STEP2, ndim=1, labels=True) for path in files]
    for path, column in zip(files, columns):
        if len(column) != n_rows:
            raise InputError(f"{path}: {len(column)} labels for {n_rows} questions; {offline_dataset.STEP2}")
    return np.stack(columns, 1).astype(np.float32)


def write_settings(path: Path, names: Names, train_labels: np.ndarray) -> Path:
    """One row per prompt subset; `corr_sum` is the published sum of pairwise |Pearson| of training labels."""
    known = np.where(np.isnan(train_labels), np.nanmean(train_labels, 0), train_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.abs(np.atleast_2d(np.corrcoef(known.T))))
    rows = []
    for subset in prompt_subsets(len(names.train_prompts)):
        block = correlation[np.ix_(subset, subset)]
        pairs = block[np.triu_indices(len(subset), 1)]
        ids = " ".join(names.train_prompts[i].id for i in subset)
        rows.append(
            {
                "subset": subset_name(subset),
                "k": len(subset),
                "prompt_ids": ids,
                "corr_sum": float(pairs.sum()),
            }
        )
    write_csv(path, rows, ["subset", "k", "prompt_ids", "corr_sum"])
    return path


def embed(embedder: embedders.Embedder, names: Names, assignments: int, cache: Path) -> dict[str, np.ndarray]:
    """Each distinct text once. A fitted embedder gets one set of vectors per split, made from its training rows."""
    prompts = [p.text for p in names.prompts]
    arrays = {"surface": surface_features(names.texts)}
    if not embedder.info.fitted:
        return arrays | {
            "questions": encode_cached(embedder, names.texts, cache),
            "prompts": encode_cached(embedder, prompts, cache),
        }
    for split in offline_dataset.all_splits(names, assignments):
        rows = names.train_index[np.concatenate([split.train, split.validation])]
        embedder.fit([names.texts[i] for i in np.unique(rows)])
        arrays |= {
            f"questions_{split.name}": embedder.encode(names.texts),
            f"prompts_{split.name}": embedder.encode(prompts),
        }
    return arrays


if __name__ == "__main__":
    run_step(main, Args)
