"""The comet task: commonsense inferences. State = an event and a relation, action = the tail, reward = the
critic's.

Training and validation rows are ATOMIC10X with the critic's scores as published; test rows are ATOMIC 2020's
events, each with the tail that the critic likes best. Where ATOMIC 2020 is not there, they are the events of
its sample in allenai/comet-atomic-2020, which anyone may fetch. The published critic replaces PersonX and
PersonY by names drawn anew at every call, so equal inputs got unequal rewards; here the names are always the
same two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompt_oirl.alol.rewards.scorers import load_critic
from prompt_oirl.alol.rows import FINAL, Row
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
from prompt_oirl.alol.tasks.task_rewards import Component, Rewards
from prompt_oirl.io.files import InputError, read_lines, write_json
from prompt_oirl.io.json_files import read_jsonl

CRITIC = "data/comet_critic"  # scripts/convert_critic.py's default
ATOMIC10X, ATOMIC2020 = "symbolic_knowledge_distillation/ATOMIC10X.jsonl", "atomic2020/test.tsv"
SAMPLE = "system_eval/test.tsv"  # 5,000 events and relations of ATOMIC 2020's test split, 2,549 of ours
SCORE = "p_valid_model"
SPLITS = {"train": "train", "val": "validation"}
VALIDATION_ROWS = 10_000
NAMES = {"PersonX": "Alex", "PersonY": "Robin"}
# What a relation says, between the event and the tail.
RELATIONS = {
    "HinderedBy": "can be hindered by",
    "xNeed": "but before, PersonX needed",
    "xWant": "as a result, PersonX wants",
    "xIntent": "because PersonX wanted",
    "xReact": "as a result, PersonX feels",
    "xAttr": "so, PersonX is seen as",
    "xEffect": "as a result, PersonX",
}


def prompt_of(head: str, relation: str) -> str:
    """What the policy reads."""
    return f"<head> {head.strip()} </head> <relation> {relation} </relation> [GEN] "


def judged_text(row: Row, tail: str) -> tuple[str, str]:
    """The critic's two texts: the event, and relation and tail in words."""
    pair = row.meta["head"].strip(), f"{RELATIONS[row.meta['relation']]} {tail.strip()}"
    for person, name in NAMES.items():
        pair = pair[0].replace(person, name), pair[1].replace(person, name)
    return pair


def _row(id: str, head: str, relation: str, tail: str, score: float) -> Row:
    components, meta = {SCORE: score, FINAL: score}, {"head": head, "relation": relation}
    return Row(id, prompt_of(head, relation), tail.strip(), components, head.strip(), relation, meta=meta)


def read_atomic10x(path: Path) -> dict[str, list[Row]]:
    """Training and validation rows with the scores of the critic."""
    splits: dict[str, list[Row]] = {"train": [], "validation": []}
    hint = "unpack the archive again"
    for number, line in enumerate(read_jsonl(path, hint=hint), 1):
        texts = [line.get(name) for name in ("head", "relation", "tail", "split")]
        score = line.get(SCORE)
        if not all(isinstance(text, str) for text in texts) or texts[1] not in RELATIONS:
            raise InputError(
                f"{path}:{number}: head, tail or split is missing, or the relation unknown; {hint}"
            )
        if not isinstance(score, int | float) or not math.isfinite(score) or not 0 <= score <= 1:
            raise InputError(f"{path}:{number}: {SCORE} is {score!r}, expected a number from 0 to 1; {hint}")
        head, relation, tail, split = (str(text) for text in texts)
        if split in SPLITS and tail.strip() and head.strip():
            splits[SPLITS[split]].append(_row(f"atomic10x-{number}", head, relation, tail, float(score)))
    return splits


def read_atomic2020(path: Path) -> Iterator[tuple[str, str, str]]:
    """Event, relation and tail of every line with a known relation, each once.

    A line is `head TAB relation TAB tail`, or, in the sample, `head @@ relation TAB tail| tail| ...`; cells
    may be quoted as in CSV. The tail `none`, annotators' word for no inference, is kept as published.

    Raises: InputError on a line of another form.
    """
    seen: set[tuple[str, str, str]] = set()
    for number, line in enumerate(read_lines(path, hint="fetch it again"), 1):
        if not line.strip():
            continue
        cells = [_unquoted(cell.strip()) for cell in line.rstrip("\r\n").split("\t")]
        tails = [cells[-1]]
        if len(cells) == 2 and " @@ " in cells[0]:
            cells, tails = cells[0].rsplit(" @@ ", 1) + cells[1:], cells[1].split("|")
        if len(cells) != 3:
            raise InputError(
                f"{path}:{number}: {len(cells)} columns, expected head, relation and tail, or `head @@ "
                "relation` and tails; fetch it again"
            )
        for triple in ((cells[0].strip(), cells[1].strip(), tail.strip()) for tail in tails):
            if triple[1] in RELATIONS and triple[0] and triple[2] and triple not in seen:
                seen.add(triple)
                yield triple


def _unquoted(cell: str) -> str:
    """The text of a cell in CSV's quotes; other quotes belong to the text."""
    inside = cell[1:-1].replace('""', "")
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside
    return cell[1:-1].replace('""', '"') if quoted else cell


def inputs(request: Request) -> list[Path]:
    """ATOMIC10X and the test events: ATOMIC 2020's, or those of its sample."""
    return [*raw_files.find(request, [ATOMIC10X]), raw_files.present(request, [ATOMIC2020, SAMPLE])[0]]


def prepare(request: Request) -> Prepared:
    """The critic scores test tails only."""
    train_file, test_file = inputs(request)
    splits: dict[str, list[Row]] = read_atomic10x(train_file)
    scorer = rewards(request.data)
    models = scorer.replaced(request.reward_models)
    if models[SCORE] == CRITIC:
        models[SCORE] = str(request.root / CRITIC)
        if not Path(models[SCORE]).is_dir():
            raise InputError(
                f"missing {models[SCORE]}: nothing else rewards a tail; make it with "
                f"scripts/convert_critic.py, or pass --reward_models {SCORE}=FOLDER"
            )
    candidates = [
        _row(f"atomic2020-{i}", *triple, 0.0) for i, triple in enumerate(read_atomic2020(test_file))
    ]
    events = {(row.group, row.segment): row for row in candidates}
    asked = drawn(list(events.values()), request.sizes.get("test"), [request.seed, 2])
    kept = {(row.group, row.segment) for row in asked}
    candidates = [row for row in candidates if (row.group, row.segment) in kept]
    scores: list[dict[str, Any]] = scorer.score_split("test", candidates, models)
    best: dict[tuple[str, str], Row] = {}
    for row, found in zip(candidates, scores):
        key = (row.group, row.segment)
        if key not in best or found[FINAL] > best[key].reward:
            best[key] = replace(row, components=found)
    splits["test"] = list(best.values())
    sizes = {"validation": VALIDATION_ROWS} | request.sizes
    note = f"comet: {drop_held_out(splits, lambda row: row.group, 'event')}"
    for number, split in enumerate(("train", "validation")):
        splits[split] = drawn(splits[split], sizes.get(split), [request.seed, number])
    noted = request.data / "rewards.json"
    write_json(noted, models)
    return Prepared(splits, [noted], note)


def rewards(data: Path) -> Rewards:
    """The reward of a run, whose data folder is given."""
    # Generated text is read up to its first full stop, as published.
    return Rewards((Component(SCORE, CRITIC, load_critic, judged_text),), data, (".",))


TASK = Task(
    name="comet",
    metric=SCORE,
    make_reward=rewards,
    inputs=inputs,
    prepare=prepare,
    needs=("head", "relation"),
    max_response_length=30,
    long_responses="cut",
    special_tokens=True,
    search=replace(BEAMS, stop="."),
    # The published command: -e 1 -bs 16 -as 1 -vf 16.
    settings=Settings(
        Passes(1),
        2e-5,
        Passes(1),
        2e-5,
        batch_size=16,
        reference_validations=16,
        validations=16,
        value_epochs=5,
        value_rate=2e-5,
    ),
    base_model="data/fetched/by_hand/comet-distill",
)
