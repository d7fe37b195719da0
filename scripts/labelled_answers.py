"""200 answers of other sources than LLaMA-2, drawn by a fixed seed to be labelled by reading.

60 stand whole in results that papers published (15 of each of four logs), 40 are the tiny model's (20 that
ended by themselves, 20 cut short), 100 say a right or a wrong value in one of 25 forms (answer_forms.py). No
grader takes part in the draw but `original`, which never changes: it reads off the wrong values of a log.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import answer_forms
import numpy as np
from answer_forms import FORMS, Form, Said

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.grading.numbers import original_number
from prompt_oirl.importers import published_results as published
from prompt_oirl.io.files import Paths, content_key
from prompt_oirl.io.json_files import read_json, read_jsonl
from prompt_oirl.opro.benchmarks import BBH

SEED = 0
PER_LOG, PER_ENDING, PER_FORM = 15, 20, 4
SHARES = {"published": 0.3, "nano": 0.2, "forms": 0.5}  # of the sources in the new set's error rate
HALVES = ("development", "held_out")
_PLAIN_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,4})?")


@dataclass(frozen=True)
class Answer:
    """An answer to be graded. `share` is what its stratum weighs in its set, `half` whom it may teach."""

    id: str
    stratum: str
    question: str
    gold: str
    kind: str
    text: str
    share: float = 0.0
    half: str = ""

    @property
    def key(self) -> str:
        """Hash of what was read, so that no label outlives a change of its text."""
        return content_key([self.question, self.gold, self.text])[:12]


def draw(paths: Paths, released: Sequence[LogRow]) -> list[Answer]:
    """The new set, in random order.

    Parameters
    ----------
    paths : where the logs lie
    released : the stored answers of LLaMA-2, from whose questions the forms' are drawn

    Raises: InputError if a file is missing.
    """
    rng = np.random.default_rng(SEED)
    logs = published_answers(paths.fetched)
    found = [
        a for name in sorted(logs) for a in _some(logs[name], PER_LOG, SHARES["published"] / len(logs), rng)
    ]
    rows = list(interactions.read(paths.committed_log("nano", "arith"), hint="restore it from git"))
    for ending in ("length", "stop"):
        ended = [_of_row(row, f"nano {ending}") for row in rows if row.finish_reason == ending]
        found += _some(ended, PER_ENDING, SHARES["nano"] * len(ended) / len(rows), rng)
    bases = [*number_bases([*released, *rows]), *published_bases(logs)]
    for name, form in FORMS.items():
        found += _some(list(formed(name, form, bases, rng)), PER_FORM, SHARES["forms"], rng)
    return [found[i] for i in rng.permutation(len(found))]


def _some(answers: Sequence[Answer], size: int, share: float, rng: np.random.Generator) -> list[Answer]:
    """`size` of the answers, half of them in each half."""
    places = rng.choice(len(answers), size, replace=False)
    halves = rng.permutation((np.arange(size) + rng.integers(2)) % 2)
    return [replace(answers[i], share=share, half=HALVES[h]) for i, h in zip(places, halves)]


# --- what others published, and the tiny model's log ---------------------------------------------------


def published_answers(fetched: Path) -> dict[str, list[Answer]]:
    """All that an LLM wrote, and the gold, by log; published_results.py keeps what each settled on."""
    return {
        "re2_gsm8k": list(_re2(fetched, "re2_gsm8k", published.RE2_GSM8K)),
        "re2_csqa": list(_re2(fetched, "re2_csqa", published.RE2_CSQA)),
        "openai_gsm8k": list(_openai_gsm8k(fetched)),
        "bbh_codex": list(_bbh_codex(fetched)),
    }


def _re2(fetched: Path, log: str, runs: tuple[tuple[str, str, str], ...]) -> Iterator[Answer]:
    folder = fetched / "Rereading-LLM-Reasoning" / "results"
    for name in (name for _, *names in runs for name in names):
        for i, found in enumerate(read_jsonl(folder / f"{name}.jsonl", hint=published.HINT)):
            gold, kind = (
                (str(found["target"]), "number") if "target" in found else (found["answerKey"], "choice")
            )
            question = published.re2_question(found)
            for way in published.RE2_PROMPTS:
                for text in found[way]["generation"] or []:
                    yield Answer(f"{name}:{i}:{way}", log, question, gold, kind, text)


def _openai_gsm8k(fetched: Path) -> Iterator[Answer]:
    path = fetched / "grade-school-math" / "grade_school_math" / "data" / "example_model_solutions.jsonl"
    for i, found in enumerate(read_jsonl(path, hint=published.HINT)):
        gold = found["ground_truth"].rpartition("A: ")[2].strip()
        for model in published.GSM8K_MODELS:
            text = found[model]["solution"]
            yield Answer(f"{i}:{model}", "openai_gsm8k", found["question"], gold, "number", text)


def _bbh_codex(fetched: Path) -> Iterator[Answer]:
    folder = fetched / "BIG-Bench-Hard" / "code-davinci-002-outputs"
    for task in sorted(BBH):
        for way in published.BBH_PROMPTS:
            path = folder / f"code-davinci-002-{way}" / f"{task}{published.BBH_ENDING}"
            for i, found in enumerate(read_json(path, hint=published.HINT)["outputs"]):
                question = found["input"].rpartition("\n\nQ: ")[2].rpartition("\nA:")[0]
                gold, kind = found["target"], BBH[task]
                if kind == "choice" and not re.fullmatch(r"\([A-Z]\)", gold):
                    kind = "text"
                yield Answer(f"{task}:{way}:{i}", "bbh_codex", question, gold, kind, found["prediction"])


def _of_row(row: LogRow, stratum: str) -> Answer:
    id_ = f"{row.question_id}:{row.prompt_id}:{row.sample}"
    return Answer(id_, stratum, row.question, row.gold, "number", row.answer or "")


# --- forms ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A question with its gold, the same as a plain value, and wrong values; `working` is an LLM's answer."""

    id: str
    question: str
    gold: str
    kind: str
    value: str
    wrong: tuple[str, ...]
    working: str = ""


def number_bases(rows: Sequence[LogRow]) -> list[Base]:
    """A base a test question of GSM8K, MAWPS and arith, its wrong values those that answers end with."""
    answers = defaultdict(list)
    for row in rows:
        if row.split == "test" and row.dataset in ("gsm8k", "mawps", "arith"):
            answers[row.question_id].append(row)
    bases = []
    for id_, found in answers.items():
        row = found[0]
        read = {original_number(r.answer or "") for r in found}
        wrong = [str(number).removesuffix(".0") for number in sorted(n for n in read if n is not None)]
        base = _number_base(id_, row.question, row.gold, wrong, row.answer or "")
        bases += [base] if base else []
    return bases


def published_bases(logs: Mapping[str, Sequence[Answer]]) -> list[Base]:
    """Choices (CommonsenseQA), truth values and numbers below zero (BIG-Bench Hard), and texts of our own."""
    first = {a.question: a for a in [*logs["bbh_codex"], *logs["re2_csqa"]]}
    bases = [
        Base(f"text:{i}", question, gold, "text", gold, (wrong,))
        for i, (question, gold, wrong) in enumerate(answer_forms.TEXTS)
    ]
    for a in first.values():
        if a.stratum == "re2_csqa":
            wrong = tuple(letter for letter in "ABCDE" if letter != a.gold)
            bases.append(Base(a.id, a.question, a.gold, "choice", a.gold, wrong))
        elif a.gold in ("Yes", "No"):
            bases.append(
                Base(a.id, a.question, a.gold, "bool", a.gold, ("No" if a.gold == "Yes" else "Yes",))
            )
        elif a.id.startswith("multistep_arithmetic_two"):
            base = _number_base(a.id, a.question, a.gold, [], a.text)
            bases += [base] if base else []
    return bases


def _number_base(id_: str, question: str, gold: str, wrong: Sequence[str], working: str) -> Base | None:
    value = gold.replace(",", "").removesuffix(".0")
    if not _PLAIN_NUMBER.fullmatch(value):
        return None
    kept = [w for w in wrong if _PLAIN_NUMBER.fullmatch(w) and Decimal(w) != Decimal(value)]
    return Base(id_, question, gold, "number", value, tuple(kept), working)


def formed(name: str, form: Form, bases: Sequence[Base], rng: np.random.Generator) -> Iterator[Answer]:
    """PER_FORM answers of one form to different questions, half of them saying the gold value."""

    def fits(base: Base, value: str) -> bool:
        return base.kind != "number" or form.fits(Fraction(value))

    fitting = [
        b for b in bases if b.kind == form.kind and fits(b, b.value) and re.search(form.asks, b.question)
    ]
    variants, says_gold = rng.permutation(len(form.variants)), rng.permutation(PER_FORM) % 2 == 0
    for i, place in enumerate(rng.choice(len(fitting), PER_FORM, replace=False)):
        base = fitting[place]
        wrong = str(rng.choice([w for w in base.wrong if fits(base, w)] or made_wrong(base.value, form)))
        value, other = (base.value, wrong) if says_gold[i] else (wrong, base.value)
        working = " ".join(re.split(r"(?<=[.!?])\s+", base.working.strip())[:2])[:300]
        following = fitting[(place + 1) % len(fitting)].question
        text = answer_forms.write(form, variants[i % len(variants)], Said(value, other, working, following))
        yield Answer(f"{name}:{base.id}", "forms", base.question, base.gold, form.kind, text)


def made_wrong(value: str, form: Form) -> list[str]:
    """A wrong number of the kind a form takes, for a question whose logged answers hold none."""
    number = Decimal(value)
    made = [f"{wrong:f}" for wrong in (number + 1, number - 1, number * 2, number + 100)]
    return [wrong for wrong in made if wrong != value and form.fits(Fraction(wrong))][:1]
