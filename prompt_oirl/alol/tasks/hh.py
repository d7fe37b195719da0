"""The hh task: a helpful and harmless assistant, on pairs of responses that a reward model scored.

A line holds {prefix: [turns, turns], suffix: [response, response], reward: [logit, logit], sft_index, meta}.
Turns begin with <|prompter|> or <|assistant|>, the last one is <|assistant|> alone. Every line gives two
training rows, the chosen response and the other one (`chosen` false), whose reward is the sigmoid of its
logit; its meta_data keeps the `logit`, and the `line`, which says what is a pair. Lines with a
response that breaks off with a colon are dropped from training, as published. An empty response is learned
as the end of text alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from prompt_oirl.alol.rewards.scorers import load_pooled_neox
from prompt_oirl.alol.rows import FINAL, LINE, LOGIT, Row
from prompt_oirl.alol.tasks import raw_files
from prompt_oirl.alol.tasks.task import GREEDY, Prepared, Request, Settings, Task, drawn, drop_held_out
from prompt_oirl.alol.tasks.task_rewards import Component, Rewards
from prompt_oirl.io.files import InputError, write_json
from prompt_oirl.io.json_files import read_jsonl

TRAIN, VALIDATION = "hh_train_len2/train.json", "hh_dev/sampled_dev.json"
SEGMENTS = ("harmless_base", "helpful_base", "helpful_online", "helpful_rejection")
TESTS = tuple(f"hh_test/{name}.json" for name in SEGMENTS)
PREAMBLE = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions.\n"
)
SPEAKERS = {"<|prompter|>": " ### Human: ", "<|assistant|>": " ### Assistant: "}
REWARD = "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5"
# The published tables judge test responses by a larger one, which no training saw:
# alol_step5_evaluate.py --reward_models preference=OpenAssistant/oasst-rm-2-pythia-6.9b-epoch-1
STOPS = ("###", "\n Human:", "\nHuman:")
HINT = "download the file again"
# Of lolrl_qlora_llama_hh.py, the adapter of timdettmers/qlora-hh-rlhf-7b, and ppo_qlora_llama_hh.py, whose
# step is 16 answers gone over 4 times. dpo_ and pro_qlora_llama_hh.py accumulate 8 batches of 2 to as many.
PUBLISHED = Settings(
    9000,
    2e-4,
    9000,
    2e-4,
    batch_size=4,
    accumulation=4,
    schedule="constant",
    weight_decay=0.0,
    adam_epsilon=1e-6,
    max_grad_norm=0.3,
    lora_rank=64,
    lora_alpha=16,
    lora_dropout=0.05,
    validations=10,
    value_epochs=10,
    value_rate=1e-5,
    ppo_rate=2e-5,
    ppo_rounds=6000,
    ppo_batches=1,
    ppo_epochs=4,
)


def prompt_of(turns: list[str]) -> str:
    """What the policy reads; the last thing is "### Assistant:" without a space."""
    text = "".join(turns)
    for mark, speaker in SPEAKERS.items():
        text = text.replace(mark, speaker)
    return PREAMBLE + text.strip()


def in_ppo_format(task: Task, rows: list[Row]) -> tuple[Task, list[Row]]:
    """The task and its rows as ppo_hh_eval.py asks: no preamble, its own speakers and stops, 384 tokens.

    Parameters
    ----------
    task : hh, of a run
    rows : n of its rows
    """
    stops = ("\n Human:", "\nHuman:", "\n Assistant:", "\nAssistant:")
    changed = []
    for row in rows:
        text = "".join(row.meta["turns"]).replace("<|prompter|>", "\nHuman: ")
        changed.append(replace(row, prompt=text.replace("<|assistant|>", "\nAssistant: ").strip()))
    made = replace(task, make_reward=lambda data: replace(rewards(data), stops=stops), max_prompt_length=384)
    return made, changed


def judged_text(row: Row, response: str) -> str:
    """What the reward model reads: every turn ends with the end of text, the response continues the last
    one."""
    turns = row.meta["turns"]
    return END_OF_TURN.join([*turns[:-1], turns[-1] + response]) + END_OF_TURN


END_OF_TURN = "<|endoftext|>"


def read_pairs(path: Path, segment: str) -> Iterator[tuple[str, list[str], list[str], list[float], int]]:
    """(segment, turns, two responses, two logits, place of the chosen one) of every line."""
    for number, line in enumerate(read_jsonl(path, hint=HINT), 1):
        where = f"{path}:{number}"
        try:
            turns, responses, logits = line["prefix"][0], line["suffix"], line["reward"]
            chosen = line.get("sft_index", 0)
            known = all(isinstance(part, list) for part in (turns, responses, logits))
            known = known and isinstance(chosen, int)
            known = known and turns[-1] == "<|assistant|>" and len(responses) == len(logits) > chosen >= 0
            known = known and all(isinstance(text, str) for text in [*turns, *responses])
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"{where}: prefix, suffix or reward is missing; {HINT}") from error
        if not known:
            raise InputError(
                f"{where}: not turns up to <|assistant|> with a reward for every response; {HINT}"
            )
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in logits):
            raise InputError(f"{where}: the rewards are {logits!r}, expected numbers; drop or fix the line")
        yield segment or _origin(line.get("meta")), turns, responses, logits, chosen


def _origin(meta: Any) -> str:
    """helpful_online of .../helpful-online/dev.jsonl."""
    path = str(meta.get("path", "")) if isinstance(meta, dict) else ""
    return Path(path).parent.name.replace("-", "_")


def rows_of(path: Path, split: str, segment: str = "", both: bool = False) -> tuple[list[Row], int]:
    """Rows of a file, and how many of its lines were dropped.

    Parameters
    ----------
    path : file of pairs, see the module
    split : its name, with which ids begin
    segment : of all rows; default: what the `meta` of each line says
    both : make rows of all responses, as for training, and drop lines with a broken one; default: rows of the
        chosen response alone, of all lines

    Raises: InputError on a line that is not as the module says.
    """
    rows, dropped = [], 0
    for i, (origin, turns, responses, logits, chosen) in enumerate(read_pairs(path, segment)):
        if both and any(text.endswith(":") for text in responses):
            dropped += 1
            continue
        for j in range(len(responses)) if both else [chosen]:
            reward = 1 / (1 + math.exp(-max(-60.0, min(60.0, logits[j]))))
            components = {"preference": reward, FINAL: reward}
            name, line = f"{split}-{path.stem}-{i}-{j}", f"{path.stem}-{i}"
            found: dict[str, Any] = {"segment": origin, "chosen": j == chosen}
            found["meta"] = {"turns": turns, LINE: line, LOGIT: float(logits[j])}
            rows.append(Row(name, prompt_of(turns), responses[j], components, **found))
    return rows, dropped


def inputs(request: Request) -> list[Path]:
    """The files of pairs that step 1 reads."""
    return [*raw_files.find(request, [TRAIN, VALIDATION]), *raw_files.present(request, TESTS)]


def prepare(request: Request) -> Prepared:
    """Rows with the logged rewards; the reward model is needed for generated responses only."""
    train_file, validation_file, *tests = inputs(request)
    train, dropped = rows_of(train_file, "train", both=True)
    splits = {"train": train, "validation": rows_of(validation_file, "validation")[0]}
    splits["test"] = [row for path in tests for row in rows_of(path, "test", path.stem)[0]]
    leaked = drop_held_out(splits, lambda row: row.prompt, "prompt")
    for number, split in enumerate(splits):
        splits[split] = drawn_lines(splits[split], request.sizes.get(split), [request.seed, number])
    noted = request.data / "rewards.json"
    write_json(noted, rewards(request.data).replaced(request.reward_models))
    return Prepared(splits, [noted], f"hh: {dropped:,} lines with a broken response dropped, {leaked}")


def drawn_lines(rows: list[Row], n: int | None, seed: list[int]) -> list[Row]:
    """At most n rows at random, in their order: lines are drawn, so that pairs stay together.

    Parameters
    ----------
    rows : to draw from; lines have equally many
    n : rows to keep; None keeps all
    seed : numbers that seed the draw together
    """
    lines = list(dict.fromkeys(row.meta[LINE] for row in rows))
    kept = set(drawn(lines, None if n is None else max(1, n * len(lines) // len(rows)), seed))
    return [row for row in rows if row.meta[LINE] in kept]


def rewards(data: Path) -> Rewards:
    """The reward of a run, whose data folder is given."""
    return Rewards((Component("preference", REWARD, load_pooled_neox, judged_text),), data, STOPS)


TASK = Task(
    name="hh",
    make_reward=rewards,
    inputs=inputs,
    prepare=prepare,
    needs=("turns",),
    max_prompt_length=640,
    long_responses="cut",
    special_tokens=True,
    pairs="logged",
    search=GREEDY,
    settings=PUBLISHED,
    base_model="huggyllama/llama-7b",
)
