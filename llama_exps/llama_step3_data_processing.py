"""Step 3: embed questions and prompts, and list the prompt subsets.

    cd llama_exps
    python llama_step3_data_processing.py                      # all-MiniLM-L6-v2 from an installed package
    python llama_step3_data_processing.py --embedder tfidf     # no model at all
    OPENAI_API_KEY=... python llama_step3_data_processing.py --embedder openai:text-embedding-ada-002

Reads llama_exps/LM<llm>/ and writes embeddings/<llm>/<dataset>/ and LM<llm>/<dataset>_settings.csv.
--original_layout adds the per-subset .npy files under their published names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data.released import LLM
from prompt_oirl.features import embedders
from prompt_oirl.features.cache import encode_cached
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_array, write_csv
from prompt_oirl.io.manifest import Manifest, check_finished, run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.offline_dataset import DatasetIndex
from prompt_oirl.pipeline.original_layout import published_arrays
from prompt_oirl.stats.splits import prompt_subsets, subset_name


@dataclass
class Args:
    llm: str = LLM
    """Whose log."""
    dataset: str = "all"
    """all that went through step 2, or a comma list."""
    embedder: str = "minilm"
    """minilm, minilm-bf16 (faster on some processors), tfidf, openai:MODEL, or a sentence-transformers folder
    or hub id."""
    original_layout: bool = False
    """Also write the published step 3's per-subset arrays (about 190 MB for three datasets)."""
    assignments: int = 1
    """Fold assignments that tfidf, which is fitted per training part, is prepared for (at most 50)."""
    seed: int = 0
    """Seed of the tfidf embedder's SVD."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""


def main(args: Args) -> None:
    if not 1 <= args.assignments <= offline_dataset.ASSIGNMENTS or args.seed < 0:
        raise InputError(
            f"--assignments {args.assignments} --seed {args.seed}: assignments run from 1 to "
            f"{offline_dataset.ASSIGNMENTS}, seeds from 0"
        )
    paths = Paths(args.root)
    folder = paths.labels(args.llm)
    known = [p.name.removesuffix("_names.json") for p in sorted(folder.glob("*_names.json"))]
    for dataset in offline_dataset.parse_datasets(args.dataset, known, offline_dataset.STEP2):
        check_finished(folder / f"{dataset}_step2.json", args.root, offline_dataset.STEP2)
        names = offline_dataset.load_names(args.llm, dataset, paths)
        train_labels, test_labels = offline_dataset.load_labels(names, paths)
        inputs = [folder / f"{dataset}_{name}" for name in offline_dataset.STEP2_FILES]
        settings = {
            "dataset": dataset,
            "embedder": args.embedder,
            "seed": args.seed,
            "assignments": args.assignments if args.embedder == "tfidf" else 1,
            "original_layout": args.original_layout,
        }
        manifest = Manifest(folder / f"{dataset}_step3.json", settings, inputs, args.root)
        if manifest.is_current() and not args.force:
            print(f"{dataset}: up to date ({folder})")
            continue
        outputs = [folder / f"{dataset}_settings.csv"]
        write_csv(outputs[0], subset_rows(names, train_labels))
        embedder = embedders.load_embedder(args.embedder, args.seed)
        arrays = embed(embedder, names, args.assignments, paths.embeddings / "cache")
        outputs += embedders.save_embeddings(paths.embeddings / args.llm / dataset, arrays, embedder.info)
        if args.original_layout:
            n = len(names.train_prompts)
            published = published_arrays(dataset, train_labels.astype(bool), test_labels[:, :n].astype(bool))
            for name, array in published:
                write_array(folder / name, array)
                outputs.append(folder / name)
        manifest.finish(outputs)
        print(
            f"{dataset}: {len(names.texts):,} distinct questions and {len(names.prompts)} prompts embedded "
            f"with {embedder.info.name}"
        )


def subset_rows(names: DatasetIndex, train_labels: np.ndarray) -> Iterator[dict[str, Any]]:
    """One row per prompt subset; `corr_sum` is the published sum of pairwise |Pearson| of training labels."""
    known = np.where(np.isnan(train_labels), np.nanmean(train_labels, 0), train_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.abs(np.atleast_2d(np.corrcoef(known.T))))
    for subset in prompt_subsets(len(names.train_prompts)):
        pairs = correlation[np.ix_(subset, subset)][np.triu_indices(len(subset), 1)]
        yield {
            "subset": subset_name(subset),
            "k": len(subset),
            "prompt_ids": " ".join(names.train_prompts[i].id for i in subset),
            "corr_sum": float(pairs.sum()),
        }


def embed(
    embedder: embedders.Embedder, names: DatasetIndex, assignments: int, cache: Path
) -> dict[str, np.ndarray]:
    """Vectors by file name; a fitted embedder gets one set per split, made from its training rows."""
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
