"""Question files of OPRO's benchmarks: BIG-Bench Hard, MMLU, AQuA and MultiArith (data folder of
google-deepmind/opro).

They lie in data/fetched/opro/data. Every question carries its options in its text, so an answer can be graded
again from the log alone. None of them brings a split.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError, Paths, require
from prompt_oirl.io.json_files import read_json, read_jsonl

HINT = "run scripts/fetch_data.py --datasets aqua,bbh,mmlu,multiarith"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Answer kinds of the 27 BIG-Bench Hard tasks; those not named are choices.
_BBH_KINDS = {
    "number": "object_counting multistep_arithmetic_two",
    "bool": "boolean_expressions causal_judgement formal_fallacies navigate sports_understanding web_of_lies",
    "text": "dyck_languages word_sorting",
    "choice": (
        "date_understanding disambiguation_qa geometric_shapes hyperbaton logical_deduction_five_objects "
        "logical_deduction_seven_objects logical_deduction_three_objects movie_recommendation "
        "penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection "
        "snarks temporal_sequences tracking_shuffled_objects_five_objects "
        "tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects"
    ),
}
BBH = {name: kind for kind, names in _BBH_KINDS.items() for name in names.split()}

# MMLU's 57 subjects in their four categories (hendrycks/test).
_SUBJECTS = {
    "stem": (
        "abstract_algebra astronomy college_biology college_chemistry college_computer_science "
        "college_mathematics college_physics computer_security conceptual_physics electrical_engineering "
        "elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science "
        "high_school_mathematics high_school_physics high_school_statistics machine_learning"
    ),
    "humanities": (
        "formal_logic high_school_european_history high_school_us_history high_school_world_history "
        "international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy "
        "prehistory professional_law world_religions"
    ),
    "social_sciences": (
        "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
        "high_school_microeconomics high_school_psychology human_sexuality professional_psychology "
        "public_relations security_studies sociology us_foreign_policy"
    ),
    "other": (
        "anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management "
        "marketing medical_genetics miscellaneous nutrition professional_accounting professional_medicine "
        "virology"
    ),
}
MMLU = {category: subjects.split() for category, subjects in _SUBJECTS.items()}


def folder(paths: Paths) -> Path:
    """Where the fetched question files lie."""
    return paths.fetched / "opro" / "data"


def load_bbh(name: str, paths: Paths) -> list[Question]:
    """One BIG-Bench Hard task. Three choices whose gold is none of their options are kept as texts."""
    path = folder(paths) / "BIG-Bench-Hard-data" / f"{name}.json"
    data = read_json(path, hint=HINT)
    loaded = []
    try:
        for i, example in enumerate(data["examples"]):
            gold, kind = str(example["target"]), BBH[name]
            if kind == "choice" and not re.fullmatch(r"\([A-Z]\)", gold):
                kind = "text"
            loaded.append(Question(f"bbh-{name}-{i:03d}", str(example["input"]), gold, "test", kind))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a BIG-Bench Hard file ({error!r}); {HINT}") from error
    return loaded


def load_mmlu(subjects: Sequence[str], paths: Paths) -> list[Question]:
    """The test questions of some subjects, one after the other."""
    return [q for subject in subjects for q in _mmlu_subject(subject, paths)]


def _mmlu_subject(subject: str, paths: Paths) -> Iterator[Question]:
    path = require(folder(paths) / "MMLU-data" / "test" / f"{subject}_test.csv", HINT)
    with path.open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.reader(file)):
            if len(row) != 6 or row[5] not in LETTERS[:4]:
                raise InputError(f"{path}:{i + 1}: not a question, four options and a letter; {HINT}")
            text = multiple_choice(row[0], row[1:5])
            yield Question(f"mmlu-{subject}-{i:04d}", text, row[5], "test", "choice")


def load_aqua(paths: Paths) -> list[Question]:
    """AQuA's questions with five options."""
    path = folder(paths) / "AQuA-data" / "AQuA.json"
    return [_aqua(row, i, path) for i, row in enumerate(read_jsonl(path, hint=HINT))]


def _aqua(row: dict[str, Any], i: int, path: Path) -> Question:
    try:
        options = [re.sub(r"^[A-E]\)\s*", "", str(option)) for option in row["options"]]
        text, gold = multiple_choice(str(row["question"]), options), str(row["correct"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}:{i + 1}: not an AQuA line ({error!r}); {HINT}") from error
    return Question(f"aqua-{i:03d}", text, gold, "test", "choice")


def load_multiarith(paths: Paths) -> list[Question]:
    """MultiArith's questions."""
    path = folder(paths) / "MultiArith-data" / "MultiArith.json"
    try:
        return [
            Question(
                f"multiarith-{i:03d}",
                str(row["sQuestion"]).strip(),
                f"{float(row['lSolutions'][0]):g}",
                "test",
            )
            for i, row in enumerate(read_json(path, hint=HINT))
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not the MultiArith file ({error!r}); {HINT}") from error


def multiple_choice(stem: str, options: Sequence[str]) -> str:
    """A question with its options, one per line, and a line that asks for a letter."""
    lines = [f"({letter}) {' '.join(option.split())}" for letter, option in zip(LETTERS, options)]
    return "\n".join([stem.strip(), *lines, f"Answer with one letter, (A) to ({LETTERS[len(lines) - 1]})."])
