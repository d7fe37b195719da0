"""hh through all steps with a tiny LLaMA: the documented commands, on real rows where they lie."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_reward_models as tiny
import torch
from alol_steps import call, table
from conftest import mirror_folder
from test_hh_fidelity import WORDS, line, script, tokenizer

from prompt_oirl.alol.evaluation import responses as evaluation
from prompt_oirl.alol.rows import Row
from prompt_oirl.alol.steps.options import RunOptions
from prompt_oirl.alol.tasks import hh
from prompt_oirl.io.files import InputError

HH: dict[str, Any] = {"task_name": "hh"}


def save_llama(folder: Path, positions: int) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer()), max_position_embeddings=positions, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def write_raw(folder: Path) -> None:
    """Real pairs where they lie, and one response beyond 128 tokens in any case."""
    test = line(["light " * 150, "No"], [1.0, -1.0])
    long = json.dumps(test).replace("why is the sky blue", "why is it blue")
    lines = [json.dumps(line([f"It scatters {word}", "No"], [0.5, -2.0])) for word in WORDS.split()[:8]]
    other = json.dumps(line(["light", "No"], [0.0, 0.5])).replace("why is the sky", "No light is")
    mirror = mirror_folder()
    real = mirror / "LoL-RL/data/hh_test/helpful_base.json" if mirror else None
    train = real.read_text().splitlines()[:8] if real and real.is_file() else lines
    for name, found in (
        (hh.TRAIN, [long, *train]),
        (hh.VALIDATION, [*lines[2:4], other]),
        (hh.TESTS[2], [json.dumps(test)]),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{text}\n" for text in found))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1 to 3 done."""
    root = tmp_path_factory.mktemp("hh")
    write_raw(root / "raw")
    tiny.open_assistant(root / "preference")
    call(1, root, **HH, input_dir=root / "raw", reward_models=f"preference={root / 'preference'}")
    base = save_llama(root / "base", 2048)
    call(2, root, **HH, model_name_or_path=base, max_steps=1, batch_size=2, accumulation=1)
    call(3, root, **HH, value_epochs=1)
    return root


def test_long_real_rows_go_through_the_documented_commands(root):
    assert any(len(row.response.split()) == 150 for row in RunOptions(**HH, root=root).rows("train"))
    small: dict[str, Any] = {"max_steps": 1, "batch_size": 1, "accumulation": 1, "eval_every": 0}
    call(4, root, **HH, **small, algorithm="a_lol", sampling_strategy="good_priority")
    baseline = script("alol_step4_train_baseline")
    for name in ("dpo", "pro"):
        tuning = {"tuning": "lora"} if importlib.util.find_spec("peft") else {}
        baseline.main(baseline.Args(root=root, **HH, **small, **tuning, algorithm=name))
        about = json.loads((root / f"alol_exps/hh/main/policies/{name}-seed0/policy.json").read_text())
        assert about["rows"] == len([r for r in RunOptions(**HH, root=root).rows("train") if r.chosen])
    summary = (root / "alol_exps/hh/main/advantages/generations.jsonl").read_text().splitlines()
    prompts = {row.prompt for row in RunOptions(**HH, root=root).rows("validation")}
    assert len(summary) == len(prompts)  # one greedy response each


def test_a_model_of_few_positions_is_one_line_in_step_2(root, tmp_path):
    small = save_llama(tmp_path / "small", 64)
    shutil.copytree(root / "alol_exps/hh/main/data", tmp_path / "alol_exps/hh/main/data")
    with pytest.raises(InputError, match="the model has 64 positions, and a row has .* lower --max_prompt"):
        call(2, tmp_path, **HH, model_name_or_path=small, max_steps=1)


def test_what_counts_of_a_response_is_what_the_reward_reads(root, monkeypatch):
    """Lengths, distinct words, published files; predictions keep the whole response."""
    raw = "It scatters\n### Human: and more text"
    monkeypatch.setattr(evaluation, "answer", lambda *given: [[raw] for _ in given[3]])
    call(5, root, **HH, policies="reference", meteor=False)
    folder = root / "results/alol/hh/main/reference/test"
    values = {
        r["metric"]: float(r["value"] or "nan")
        for r in table(folder / "metrics.csv")
        if r["segment"] == "all"
    }
    assert values["length_words"] == 2 and values["distinct_2"] == 1
    (said,) = (json.loads(text) for text in (folder / "predictions.jsonl").read_text().splitlines())
    assert said["response"] == raw
    (published,) = (folder / "helpful_online_eval_results.jsonl").read_text().splitlines()
    found = json.loads(published)
    assert list(found) == ["prefix", "suffix", "reward"] and found["suffix"] == "It scatters"
    assert found["reward"] == pytest.approx(said["final_reward"]) and 0 < found["reward"] < 1


def test_ppo_hhs_format(root, monkeypatch):
    """As ppo_hh_eval.py asks: other speakers, no preamble, 384 tokens, its own stops."""
    asked: list[tuple[Any, ...]] = []

    def answer(*given: Any) -> list[list[str]]:
        asked.append(given)
        return [["It scatters\nHuman: and"] for _ in given[3]]

    monkeypatch.setattr(evaluation, "answer", answer)
    call(5, root, **HH, policies="reference", prompt_format="ppo_hh", output_dir=root / "ppo")
    (task, _, _, rows, limits, *_, search, _) = asked[0]
    assert rows[0].prompt == "Human: Hi\nAssistant: Hi there\nHuman: why is the sky blue\nAssistant:"
    assert limits.max_prompt_length == 384 and limits.max_response_length == 128 and limits.special_tokens
    assert (search.num_beams, search.repetition_penalty) == (1, 1.0)
    assert task.as_read("a\n Assistant: b") == "a" and hh.TASK.as_read("a\n Assistant: b") != "a"
    found = json.loads((root / "ppo/test/helpful_online_eval_results.jsonl").read_text())
    assert found["suffix"] == "It scatters"
    with pytest.raises(InputError, match="--prompt_format ppo_hh is for hh, not for toy"):
        call(5, root, task_name="toy", prompt_format="ppo_hh")


def test_knowledge_and_references_are_compared_with_what_is_read():
    from prompt_oirl.alol.steps.evaluate import with_overlap

    rows = [Row("a", "x", "y", {}, meta={"knowledge": "a b c"}), Row("b", "x", "y", {})]
    found = with_overlap([[{"final_reward": 1.0}], [{"final_reward": 0.0}]], rows, [["a b d"], ["a"]], False)
    assert found[0] == [{"final_reward": 1.0, "coverage": 2 / 3, "density": 4 / 3}]
    assert found[1] == [{"final_reward": 0.0}]
