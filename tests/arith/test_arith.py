"""The embedded benchmark and its model: same bytes from the same seed, nothing of the test set in
training."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from prompt_oirl.arith import answers, benchmark, mix, network, phrasings, problems, training
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.data.questions import load_own_questions
from prompt_oirl.grading import numbers
from prompt_oirl.io.files import REPO_ROOT, InputError, sha256
from prompt_oirl.llms import Decoding
from prompt_oirl.llms.chat import conversation

ARITH, NANO = REPO_ROOT / "data" / "arith", REPO_ROOT / "data" / "nano_llama"
SPLITS = ("train", "validation", "test")
TINY = training.Recipe(
    pools=4,
    pool=40,
    tokens=1024,
    shape=network.Shape(vocabulary=400, hidden=32, layers=2, heads=2, feed_forward=48),
    vocabulary_texts=300,
)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[benchmark.Row]]:
    return {split: benchmark.read_rows(split) for split in SPLITS}


@pytest.fixture(scope="module")
def tokens() -> object:
    return training.train_tokenizer(TINY.shape.vocabulary, TINY.vocabulary_texts, TINY.seed)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads for one test; waiting threads of parallel tests are slow."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- the benchmark -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_committed_files_come_from_their_seeds(tmp_path: Path, rows: dict[str, list[benchmark.Row]]) -> None:
    manifest = (ARITH / "manifest.json").read_text(encoding="utf-8")
    seeds = dict(re.findall(r'"(seed|test_seed)": (\d+)', manifest))
    for hash_seed in ("1", "2"):
        root = tmp_path / hash_seed
        command = [sys.executable, "scripts/make_arith_benchmark.py", "--root", str(root)]
        command += ["--seed", seeds["seed"], "--test_seed", seeds["test_seed"]]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        subprocess.run(command, cwd=REPO_ROOT, env=environment, check=True, capture_output=True, timeout=120)
        for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "prompts.csv", "manifest.json"):
            assert sha256(root / "data" / "arith" / name) == sha256(ARITH / name), name


def test_sizes_and_groups(rows: dict[str, list[benchmark.Row]]) -> None:
    assert {split: len(rows[split]) for split in SPLITS} == {"train": 3000, "validation": 500, "test": 1000}
    groups = {split: {row["group"] for row in rows[split]} for split in SPLITS}
    groups["pretrain"] = {group.name for group in problems.groups_of("pretrain")}
    assert len(groups["train"]) >= 800
    assert len(groups["test"]) >= 300
    names = list(groups)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert not groups[a] & groups[b], (a, b)
    for split in SPLITS:
        assert len({row["family"] for row in rows[split]}) >= 20
        assert {row["steps"] for row in rows[split]} == {1, 2, 3, 4, 5}
    everything = [row for split in SPLITS for row in rows[split]]
    assert len({row["id"] for row in everything}) == len({row["question"] for row in everything}) == 4500


def test_every_gold_is_what_its_equations_give(rows: dict[str, list[benchmark.Row]]) -> None:
    equation = re.compile(r"^.+: (\d+) ([-+*/]) (\d+) = (\d+)$")
    for row in (row for split in SPLITS for row in rows[split]):
        *lines, last = row["answer"].split("\n")
        known = {int(n) for n in re.findall(r"\d+", row["question"])} | {60}  # minutes of an hour
        results: list[int] = []
        assert len(lines) == row["steps"]
        for line in lines:
            found = equation.match(line)
            assert found, line
            a, op, b, result = int(found[1]), found[2], int(found[3]), int(found[4])
            assert a in known and b in known, row
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[op] == result
            assert result >= 0
            known.add(result)
            results.append(result)
        assert last == f"#### {row['gold']}" and int(row["gold"]) == results[-1]


def test_step_1_reads_the_files() -> None:
    for split in ("train", "test"):
        questions = load_own_questions(ARITH / f"{split}.jsonl", "arith")
        assert {q.split for q in questions} == {split}


# --- prompts and answers -----------------------------------------------------------------------------


def test_prompt_table() -> None:
    prompts = load_prompts(ARITH / "prompts.csv")
    assert prompts[:16] == load_prompts()
    unseen = [p for p in phrasings.all_phrasings() if p.unseen]
    assert prompts[16:] == [p.prompt for p in unseen] and len(unseen) == 60
    assert {p.role for p in prompts[16:]} == {"unseen"}
    texts = [p.prompt.text for p in phrasings.all_phrasings()]
    assert len(set(texts)) == len(texts) > 400
    trained = {p.text for style in phrasings.BY_NAME for p in phrasings.trained_prompts(style)}
    assert not trained & {p.prompt.text for p in unseen}


@pytest.mark.parametrize("style", phrasings.BY_NAME)
def test_the_strict_grader_reads_every_style(style: str) -> None:
    rng = random.Random(style)
    for group in problems.groups_of("pretrain"):
        problem = problems.draw_problem(group, rng)
        text = answers.write_answer(style, problem, rng, "You are a judge")
        assert numbers.strict(text, str(problem.gold)), text


# --- training ----------------------------------------------------------------------------------------


def test_training_shows_no_benchmark_question_and_no_unseen_phrasing() -> None:
    forbidden = benchmark.benchmark_keys()
    unseen = {p.prompt.text for p in phrasings.all_phrasings() if p.unseen}
    validation_groups = {group.name for group in problems.groups_of("validation")}
    assert validation_groups
    drawn = [e for pool in range(8) for e in training.examples(pool, training.Recipe(), forbidden)]
    asked = [e for e in drawn if e.question]
    assert len(asked) > 5000
    assert not {problems.text_key(e.question) for e in asked} & forbidden
    assert not {e.prompt for e in asked} & unseen
    # The guard itself: a text that the stream would draw is left out once it is forbidden.
    first = asked[0]
    more = forbidden | {problems.text_key(first.question)}
    assert first.question not in {e.question for e in training.examples(0, training.Recipe(), more)}


def test_the_fast_network_is_a_llama(tmp_path: Path, tokens: object, threads: Callable[[int], None]) -> None:
    threads(1)
    from transformers import AutoModelForCausalLM

    weights = network.initial_weights(TINY.shape, 3)
    weights = {name: value.half().float() for name, value in weights.items()}
    training.export(tmp_path, weights, TINY, tokens)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.randint(0, 400, (3, 20), generator=torch.Generator().manual_seed(0))
    ours = network.logits(weights, TINY.shape, ids, torch.ones(3, 20, dtype=torch.bool))
    with torch.inference_mode():
        theirs = model(ids).logits.flatten(0, 1)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_tokenizer_reads_what_training_wrote(tmp_path: Path, tokens: object) -> None:
    from transformers import AutoTokenizer

    training.export(tmp_path, network.initial_weights(TINY.shape, 0), TINY, tokens)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for prompt in load_prompts(ARITH / "prompts.csv"):
        chat = conversation("Ann has 12 pies, Bob 305. How many?", prompt)
        text = loaded.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert text == mix.model_input("Ann has 12 pies, Bob 305. How many?", prompt.text)
        assert loaded(text, add_special_tokens=False)["input_ids"] == tokens.encode(text).ids  # type: ignore[attr-defined]
        assert loaded.decode(loaded(text, add_special_tokens=False)["input_ids"]) == text
    assert all(len(re.sub(r"\D", "", entry)) <= 1 for entry in loaded.get_vocab())
    assert loaded.eos_token_id == training.END_ID


def test_same_seed_same_bytes_also_after_a_kill(
    tmp_path: Path, tokens: object, threads: Callable[[int], None]
) -> None:
    forbidden = benchmark.benchmark_keys()
    steps: list[int] = []
    threads(1)
    for name, stops in {"one": [None], "two": [None], "cut": [1, 3, None]}.items():
        for stop in stops:
            weights = training.train(
                TINY,
                tokens,
                forbidden,
                tmp_path / f"{name}.safetensors",
                report=lambda pool, loss, n: steps.append(pool),
                stop_at=stop,
            )
        training.export(tmp_path / name, weights, TINY, tokens)
    assert len(steps) >= 3 * 20
    digests = {sha256(tmp_path / name / "model.safetensors") for name in ("one", "two", "cut")}
    assert len(digests) == 1
    with pytest.raises(InputError, match="another recipe"):
        training.train(
            training.Recipe(seed=1, shape=TINY.shape), tokens, forbidden, tmp_path / "one.safetensors"
        )


# --- the committed model -----------------------------------------------------------------------------


def test_the_model_loads_stops_and_obeys(threads: Callable[[int], None]) -> None:
    from prompt_oirl.llms.transformers_llm import TransformersLLM

    assert sum(f.stat().st_size for f in NANO.iterdir()) < 12e6
    threads(1)
    llm = TransformersLLM(str(NANO), max_batch_size=64)
    prompts = load_prompts()[:6]
    signs = {"CoT": ": ", "APE": "check", "Dis": "Expert 1:", "ToT": "A: ", "Decomp": "Parts:"}
    for prompt in prompts:
        steps = (
            1 if prompt.id == "nan" else 2
        )  # longer problems it answers with equations, having seen no other way
        short = [row for row in benchmark.read_rows("validation") if row["steps"] == steps][:20]
        found = llm.generate(
            [conversation(row["question"], prompt) for row in short],
            decoding=Decoding(0.6, 0.9, 96),
            seeds=range(20),
        )
        assert sum(answer.finish_reason == "stop" for answer in found) >= 15, prompt.id
        if prompt.id == "nan":
            styled = [re.fullmatch(r"\d+\.", answer.text) is not None for answer in found]
        else:
            styled = [signs[prompt.id] in answer.text for answer in found]
        assert sum(styled) >= 14, (prompt.id, [answer.text for answer in found])
