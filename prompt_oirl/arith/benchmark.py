"""The benchmark's three files: train, validation and test questions in GSM8K's form, no group in two of
them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.arith.families import BY_NAME
from prompt_oirl.arith.problems import Problem, draw_problem, groups_by_family, groups_of, text_key
from prompt_oirl.data.near_duplicates import cluster_texts
from prompt_oirl.io.files import REPO_ROOT, sha256, write_json, write_jsonl
from prompt_oirl.io.json_files import read_jsonl

FOLDER = REPO_ROOT / "data" / "arith"
SIZES = {"train": 3000, "validation": 500, "test": 1000}
HINT = "run scripts/make_arith_benchmark.py"
Row = dict[str, Any]


def draw_families(rng: random.Random, n: int) -> list[str]:
    """Family names, each as often as the others to within one, in random order."""
    names: list[str] = []
    due = 0.0
    for name in BY_NAME:
        due += n / len(BY_NAME)
        names += [name] * (round(due) - len(names))
    rng.shuffle(names)
    return names


def make_rows(split: str, n: int, seed: int, taken: set[str]) -> Iterator[Row]:
    """`n` rows of a split; a family uses each of its groups once before any of them twice.

    Parameters
    ----------
    split : train, validation or test; each has groups of its own
    n : number of rows
    seed : together with the name of the split it decides what is drawn
    taken : keys (`text_key`) of texts that must not come again; those of the new rows are added
    """
    rng = random.Random(f"arith/{seed}/{split}")
    decks = {name: rng.sample(groups, len(groups)) for name, groups in groups_by_family(split).items()}
    used: Counter[str] = Counter()
    for i, name in enumerate(draw_families(rng, n)):
        group = decks[name][used[name] % len(decks[name])]
        used[name] += 1
        problem = draw_problem(group, rng)
        while text_key(problem.text) in taken:
            problem = draw_problem(group, rng)
        taken.add(text_key(problem.text))
        yield as_row(problem, split, i)


def as_row(problem: Problem, split: str, number: int) -> Row:
    """A problem as a row of the question file.

    Parameters
    ----------
    problem : question, solution and group
    split : train, validation or test
    number : place of the row in its split, from 0; part of its id
    """
    return {
        "id": f"arith-{split}-{number:04d}",
        "split": split,
        "group": problem.group.name,
        "family": problem.group.family.name,
        "steps": len(problem.equations),
        "question": problem.text,
        "answer": problem.derivation,
        "gold": str(problem.gold),
    }


def write_benchmark(folder: Path, seed: int, test_seed: int, sizes: dict[str, int] = SIZES) -> dict[str, Any]:
    """Write the three files and manifest.json; returns the manifest.

    Parameters
    ----------
    folder : where the files go; made if it is missing
    seed : of every split but test
    test_seed : of the test questions
    sizes : number of rows by split; default: `SIZES`
    """
    taken: set[str] = set()
    splits = {
        split: list(make_rows(split, n, test_seed if split == "test" else seed, taken))
        for split, n in sizes.items()
    }
    for split, rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    manifest = {
        "seed": seed,
        "test_seed": test_seed,
        "families": len(BY_NAME),
        "groups_pretrain": len(groups_of("pretrain")),
        "splits": {split: _counts(rows) for split, rows in splits.items()},
        "text_clusters_together": _clusters([r for rows in splits.values() for r in rows]),
        "sha256": {f"{split}.jsonl": sha256(folder / f"{split}.jsonl") for split in splits},
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "groups": len({row["group"] for row in rows}),
        "families": len({row["family"] for row in rows}),
        "text_clusters": _clusters(rows),
        "rows_by_steps": dict(sorted(Counter(str(row["steps"]) for row in rows).items())),
    }


def _clusters(rows: Sequence[Row]) -> int:
    return int(cluster_texts([row["question"] for row in rows]).max()) + 1


def read_rows(split: str, folder: Path = FOLDER) -> list[Row]:
    """The questions of a split, in the order of its file."""
    return list(read_jsonl(folder / f"{split}.jsonl", hint=HINT))


def benchmark_keys(folder: Path = FOLDER) -> frozenset[str]:
    """Hashes of every question of the benchmark; none of them may enter the language model's training."""
    return frozenset(text_key(row["question"]) for split in SIZES for row in read_rows(split, folder))
