"""The tasks reddit_pos and reddit_neg: replies to comments, learned from highly or badly scored ones.

State = the parent comment, action = the reply, reward = fluency + depth + updown + safe + tfidf, each in
0..1. Both tasks share validation and test rows of both kinds. The published split cuts rows; here training
rows whose parent comment is in validation or test are dropped.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prompt_oirl.alol.rewards.scorers import load_classifier, load_last_end
from prompt_oirl.alol.rows import Row
from prompt_oirl.alol.tasks import raw_files
from prompt_oirl.alol.tasks.task import (
    BEAMS,
    Passes,
    Prepared,
    Request,
    Settings,
    Task,
    drawn,
    drop_held_out,
)
from prompt_oirl.alol.tasks.task_rewards import TFIDF, Component, Rewards, fit_tfidf, load_tfidf
from prompt_oirl.io.files import InputError, write_json

FILES = {kind: f"reddit_comment_scores/comments_{kind}.csv" for kind in ("positive", "negative")}
KIND = {"reddit_pos": "positive", "reddit_neg": "negative"}
BASE = "microsoft/DialoGPT-medium"
# Batches of 8, two accumulated (-as 2), six passes for the reference (-e 6), three on top (-e 3).
# The published commands: -e 6, then -e 3, with -bs 8 -as 2 and two validations per pass.
DIALOGUE = Settings(
    Passes(6),
    2e-5,
    Passes(3),
    2e-5,
    batch_size=8,
    accumulation=2,
    reference_validations=12,
    validations=6,
    value_epochs=5,
    value_rate=2e-5,
)
END = "<|endoftext|>"
COLA, DEPTH = "textattack/roberta-base-CoLA", "microsoft/DialogRPT-depth"
UPDOWN, TOXICHAT = "microsoft/DialogRPT-updown", "data/fetched/by_hand/DGPT_medium_OC_S_and_SBF_offensive_e2"
SAMPLE, SEED = 102_000, 901  # comments of a kind, drawn as published
MAX_WORDS, MAX_TOKENS = 100, 300
HELD_OUT = 1000  # rows of a kind for test, and as many for validation
_URL = re.compile(r"(?:https?://|www\.)[^\s<>()\[\]]{1,2000}", re.I)


def cleaned(text: str) -> str:
    """White space to single spaces, links to <URL>, no end of text inside."""
    return _URL.sub("<URL>", " ".join(text.replace(END, " ").split()))


def read_comments(path: Path, kind: str, tokenizer: Any) -> list[Row]:
    """Rows without rewards, in the order drawn; long and empty ones are left out.

    Parameters
    ----------
    path : CSV with columns id, text, parent_text, score and parent_score
    kind : positive or negative: the rows' segment, with which ids begin
    tokenizer : counts the tokens of comment and reply

    Raises: InputError if the file cannot be read.
    """
    import pandas as pd

    kinds = {"id": str, "text": str, "parent_text": str, "score": float, "parent_score": float}
    try:
        table = pd.read_csv(path, usecols=list(kinds), dtype=kinds)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); download it again"
        ) from error
    table = table.dropna(subset=["id", "text", "parent_text"]).drop_duplicates("id")
    table = table.sample(min(SAMPLE, len(table)), random_state=SEED)
    rows = []
    for row in tqdm(table.to_dict("records"), desc=f"{kind} comments", disable=None):
        parent, text = cleaned(str(row["parent_text"])), cleaned(str(row["text"]))
        words = [len(part.split()) for part in (parent, text)]
        if min(words) == 0 or max(words) > MAX_WORDS:
            continue
        tokens = tokenizer(parent + END + text + END, add_special_tokens=False)["input_ids"]
        if len(tokens) > MAX_TOKENS:
            continue
        scores = {name: float(row[name]) for name in ("score", "parent_score") if row[name] == row[name]}
        rows.append(
            Row(f"{kind}-{row['id']}", parent + END, text + END, {}, group=parent, segment=kind, meta=scores)
        )
    return rows


def inputs(request: Request) -> list[Path]:
    """The two files of comments."""
    return raw_files.find(request, list(FILES.values()))


def prepare(request: Request) -> Prepared:
    """Rows of the three splits, rewarded by all components."""
    from prompt_oirl.alol.models.checkpoints import load_tokenizer

    tokenizer = load_tokenizer(request.model_name_or_path or BASE)
    comments = {k: read_comments(path, k, tokenizer) for k, path in zip(FILES, inputs(request))}
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for kind, rows in comments.items():
        n = min(HELD_OUT, len(rows) // 4)
        splits["test"] += rows[:n]
        splits["validation"] += rows[n : 2 * n]
        comments[kind] = rows[2 * n :]
    tested = {row.group for row in splits["test"]}
    splits["validation"] = [row for row in splits["validation"] if row.group not in tested]
    splits["train"] = comments[KIND[request.task]]
    note = drop_held_out(splits, lambda row: row.group, "parent comment")
    return score_splits(request, rewards(request.data), splits, note)


def score_splits(
    request: Request, scorer: Rewards, splits: dict[str, list[Row]], note: str, words: list[str] | None = None
) -> Prepared:
    """Limit the splits, learn the word weights, and reward every row.

    Parameters
    ----------
    request : sizes, seed, folders, and reward models other than the published ones
    scorer : rewards of the run
    splits : rows by split, which are replaced in place
    note : for the user
    words : texts that word weights are learned from; default: the training responses

    Returns: the rows, and the files tfidf.json and rewards.json.
    Raises: InputError if a split has no rows.
    """
    for number, split in enumerate(splits):
        splits[split] = drawn(splits[split], request.sizes.get(split), [request.seed, number])
        if not splits[split]:
            raise InputError(f"{request.task}: no rows left for {split}; the files hold too little")
    models = {
        name: str(request.root / model) if (request.root / model).is_dir() else model
        for name, model in scorer.replaced(request.reward_models).items()
    }
    files = [request.data / TFIDF, request.data / "rewards.json"]
    fit_tfidf(files[0], words or [scorer.clean(row.response) for row in splits["train"]])
    write_json(files[1], models)
    for split, rows in splits.items():
        found = scorer.score_split(split, rows, models)
        splits[split] = [replace(row, components=c) for row, c in zip(rows, found)]
    return Prepared(splits, files, f"{request.task}: {note}")


def response_alone(row: Row, response: str) -> str:
    """What fluency and tf-idf read."""
    return response


def thread(row: Row, response: str) -> str:
    """Parent (with its end of text) and reply, as DialogRPT reads them."""
    return row.prompt + response


def ended_thread(row: Row, response: str) -> str:
    """The thread with an end of text, as ToxiChat's classifier reads it."""
    return row.prompt + response + END


COMPONENTS = (
    Component("fluency", COLA, load_classifier, response_alone),
    Component("depth", DEPTH, load_classifier, thread),
    Component("updown", UPDOWN, load_classifier, thread),
    Component("safe", TOXICHAT, load_last_end, ended_thread),
    Component("tfidf", TFIDF, load_tfidf, response_alone),
)
rewards = partial(Rewards, COMPONENTS)  # of a run, whose data folder is given


TASKS = tuple(
    Task(
        name=name,
        max_reward=5.0,
        long_responses="cut",
        special_tokens=True,
        search=BEAMS,
        make_reward=rewards,
        inputs=inputs,
        prepare=prepare,
        settings=DIALOGUE,
        base_model=BASE,
    )
    for name in KIND
)
