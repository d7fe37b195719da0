"""Step 4: train the offline reward models r(question, prompt) and measure them on validation rows.

    cd llama_exps
    python llama_step4_offline_evaluation.py                          # XGBoost, fast preset, both protocols
    python llama_step4_offline_evaluation.py --model lightgbm --subsets 6
    python llama_step4_offline_evaluation.py --dask tcp://10.0.0.1:8786   # on a cluster
    python llama_step4_offline_evaluation.py --preset paper --split paper --subsets 6   # as published: hours

One fit per prompt subset on the published split, two folds per subset and five folds with all prompts under
cross-fitting by near-duplicate cluster. Stopped at any moment, the same command resumes.
Writes llama_exps/<llm>_models/: the models, a record each, and <dataset>_<model>_validation.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from prompt_oirl import reward_models
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import fits, offline_dataset, workers
from prompt_oirl.pipeline.fit_data import MEMORY_GB, FitData, fit_data
from prompt_oirl.pipeline.plan import FitSpec, Plan, prepared_datasets, splits_by_name


@dataclass
class Args(Plan):
    dataset: str = "all"
    """all that went through step 3, or a comma list."""
    jobs: int = -1
    """Fits that run side by side; -1 is one per core."""
    dask: str = ""
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers fit (docs/larger.md)."""
    memory_gb: float = MEMORY_GB
    """Larger question features stay in files; fits then go one by one through external memory."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""


def main(args: Args) -> None:
    """Train what no finished record vouches for, then write the validation metrics of each dataset."""
    if args.jobs < 1 and args.jobs != -1:
        raise InputError(f"--jobs {args.jobs}: choose 1 or more, or -1 for one per core")
    if not args.memory_gb >= 0:  # nor NaN
        raise InputError(f"--memory_gb {args.memory_gb}: give 0 or more")
    paths = Paths(args.root)
    reward_models.make(args.model, args.preset)  # a missing library is said now, not after an hour
    planned: list[FitSpec] = []
    records: list[dict | None] = []
    tasks: list[tuple[int, str, FitData]] = []
    for dataset in prepared_datasets(args.llm, args.dataset, paths, offline_dataset.STEP3):
        inputs = fits.input_hashes(args.llm, dataset, paths)
        data = offline_dataset.load(args.llm, dataset, paths)
        data.features("paper", memory_gb=0)  # damaged vectors are said now as well
        wanted = list(args.fits(data.names))
        keys = [fits.fit_key(fit, inputs) for fit in wanted]
        finished = [fits.finished_record(fit, key, paths) for fit, key in zip(wanted, keys)]
        todo = [i for i, record in enumerate(finished) if record is None]
        needed = {wanted[i].split for i in todo}
        splits = [s for s in splits_by_name(data.names, args.assignments).values() if s.name in needed]
        shared = fit_data(data, splits, args.memory_gb)
        # Fits that share their data follow each other, and the largest go first, so that no core waits for a
        # late one.
        todo.sort(key=lambda i: (wanted[i].split, wanted[i].variant != "both", -len(wanted[i].subset)))
        tasks += [(len(planned) + i, keys[i], shared[wanted[i].split]) for i in todo]
        planned += wanted
        records += finished
    results = workers.run_fits([(planned[i], key, data) for i, key, data in tasks], args.jobs, args.dask)
    with tqdm(
        total=len(planned), initial=len(planned) - len(tasks), desc="fits", disable=None, smoothing=0.05
    ) as bar:
        for (i, _, _), (record, content) in zip(tasks, results):
            fits.save(planned[i], record, content, paths)
            records[i] = record
            bar.update()
    by_dataset: dict[str, list[int]] = {}
    for i, fit in enumerate(planned):
        by_dataset.setdefault(fit.dataset, []).append(i)
    for dataset, indices in by_dataset.items():
        path = fits.validation_path(args, dataset, paths)
        rows = fits.validation_rows([planned[i] for i in indices], [records[i] or {} for i in indices])
        write_csv(path, rows)
        print(f"{dataset}: {len(indices)} reward models, validation metrics in {path}")


if __name__ == "__main__":
    run_step(main, Args)
