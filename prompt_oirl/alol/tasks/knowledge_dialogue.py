"""The tasks wow, faithdial and faithdial_wow: answers in a dialogue that must keep to a given piece of
knowledge.

State = the knowledge and the dialogue so far, action = the answer, reward = fluency + faithdial (is the
answer entailed by the knowledge?) + depth + tfidf, each in 0..1. Word weights are always those of Wizard of
Wikipedia's training answers. Splits as published: wow trains on Wizard of Wikipedia, validates on its unseen
topics; faithdial has its own; faithdial_wow joins both; all are tested on FaithDial.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.alol.rewards.scorers import load_classifier
from prompt_oirl.alol.rows import FINAL, Row
from prompt_oirl.alol.tasks import raw_files
from prompt_oirl.alol.tasks.reddit import BASE, COLA, DEPTH, DIALOGUE, END, response_alone, score_splits
from prompt_oirl.alol.tasks.task import BEAMS, Prepared, Request, Task, drop_held_out
from prompt_oirl.alol.tasks.task_rewards import TFIDF, Component, Rewards, load_tfidf
from prompt_oirl.io.files import InputError
from prompt_oirl.io.json_files import parse_json, read_json

WOW = "wizard_of_wikipedia/wizard_of_wikipedia.tgz"
WOW_SPLITS = {"train": "train.json", "validation": "valid_topic_split.json"}
FAITH = "McGill-NLP/roberta-large-faithcritic"
FAITHDIAL = {
    split: f"FaithDial/{split.removesuffix('ation')}.json" for split in ("train", "validation", "test")
}
HISTORY_TOKENS = 400
KNOWLEDGE = "Knowledge: "
UNUSED = "no_passages_used"
HINT = "download the file again"


def read_wow(path: Path) -> dict[str, list[Row]]:
    """Wizard turns with a checked sentence and something said before, straight from the archive."""
    found = {}
    try:
        with tarfile.open(path) as archive:
            for split, name in WOW_SPLITS.items():
                member = next((m for m in archive if Path(m.name).name == name and m.isfile()), None)
                file = archive.extractfile(member) if member is not None else None
                if file is None:
                    raise InputError(f"{path}: holds no {name}; {HINT}")
                found[split] = list(_wow_rows(parse_json(file.read()), split))
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable archive ({str(error).splitlines()[0]}); {HINT}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not Wizard of Wikipedia's dialogues ({error!r}); {HINT}") from error
    return found


def _wow_rows(dialogues: Any, split: str) -> Iterator[Row]:
    for d, dialogue in enumerate(dialogues):
        history: list[str] = []
        for t, turn in enumerate(dialogue["dialog"]):
            text = turn["text"].strip()
            # A turn of the wizard without any checked sentence is no answer and, as published, not part of
            # the history.
            if "Wizard" in turn["speaker"]:
                checked = list((turn.get("checked_sentence") or {}).values())
                if not checked:
                    continue
                if history and checked[0] != UNUSED and text and checked[0].strip():
                    yield _row(f"wow-{split}-{d}-{t}", f"wow-{split}-{d}", checked[0], history, text)
            history = [*history, text]


def read_faithdial(path: Path, split: str) -> list[Row]:
    """Turns of a file: a list of dialogues with `utterances`, or a flat list of turns."""
    rows, d = [], -1
    listed = read_json(path, hint=HINT)
    try:
        for d, entry in enumerate(listed):
            turns = entry.get("utterances", [entry])
            group = f"faithdial-{split}-{entry.get('dialog_idx', d)}"
            for t, turn in enumerate(turns):
                knowledge, answer = turn["knowledge"].strip(), turn["response"].strip()
                if knowledge and answer and turn["history"]:
                    rows.append(_row(f"faithdial-{split}-{d}-{t}", group, knowledge, turn["history"], answer))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: entry {d + 1} is no FaithDial turn ({error!r}); {HINT}") from error
    return rows


def _row(id: str, group: str, knowledge: str, history: list[str], answer: str) -> Row:
    meta = {"knowledge": knowledge.strip(), "history": [said.strip() for said in history]}
    return Row(id, "", answer + END, {}, group=group, segment=id.split("-")[0], meta=meta)


def with_prompt(row: Row, tokenizer: Any) -> Row:
    """The row with its prompt; the oldest turns go until the history has no more than 400 tokens."""
    history = row.meta["history"]
    while (
        len(history) > 1
        and len(tokenizer(END.join(history), add_special_tokens=False)["input_ids"]) > HISTORY_TOKENS
    ):
        history = history[1:]
    prompt = f"{KNOWLEDGE}{row.meta['knowledge']}{END}{END.join(history)}{END}"
    return replace(row, prompt=prompt, meta=row.meta | {"history": history})


def inputs(request: Request) -> list[Path]:
    """The archives and files that step 1 reads."""
    names = list(FAITHDIAL.values()) if request.task != "wow" else [FAITHDIAL["test"]]
    return raw_files.find(request, [WOW, *names])


def prepare(request: Request) -> Prepared:
    """Rows of the three splits, rewarded by all components."""
    from prompt_oirl.alol.models.checkpoints import load_tokenizer

    tokenizer = load_tokenizer(request.model_name_or_path or BASE)
    wow_file, *files = inputs(request)
    wow = read_wow(wow_file)
    scorer = rewards(request.data)
    words = [scorer.clean(row.response) for row in wow["train"]]
    own = {split: read_faithdial(path, split) for split, path in zip(list(FAITHDIAL)[-len(files) :], files)}
    splits = {split: list(own.get(split, [])) for split in FAITHDIAL}
    if request.task == "wow":
        splits |= wow
    elif request.task == "faithdial_wow":
        joined = splits["train"] + wow["train"]
        order = np.random.default_rng([request.seed, 3]).permutation(len(joined))
        splits["train"], splits["validation"] = (
            [joined[i] for i in order],
            splits["validation"] + wow["validation"],
        )
    splits = {split: [with_prompt(row, tokenizer) for row in rows] for split, rows in splits.items()}
    note = drop_held_out(splits, lambda row: row.prompt, "prompt")
    return score_splits(request, scorer, splits, note, words)


def knowledge_pair(row: Row, response: str) -> tuple[str, str]:
    """What the entailment critic reads."""
    return row.meta["knowledge"], response


def thread(row: Row, response: str) -> str:
    """History and answer, without the knowledge."""
    return END.join([*row.meta["history"], response])


load_entailment = partial(load_classifier, label=0)  # the critic's labels: entailment, hallucination
COMPONENTS = (
    Component("fluency", COLA, load_classifier, response_alone),
    Component("faithdial", FAITH, load_entailment, knowledge_pair),
    Component("depth", DEPTH, load_classifier, thread),
    Component("tfidf", TFIDF, load_tfidf, response_alone),
)
rewards = partial(Rewards, COMPONENTS)  # of a run, whose data folder is given


TASKS = tuple(
    Task(
        name=name,
        max_reward=4.0,
        long_responses="cut",
        special_tokens=True,
        search=BEAMS,
        metric=FINAL if name == "faithdial" else "faithdial",
        make_reward=rewards,
        inputs=inputs,
        prepare=prepare,
        needs=("history", "knowledge"),
        settings=DIALOGUE,
        base_model=BASE,
    )
    for name in ("wow", "faithdial", "faithdial_wow")
)
