"""hh as published: ids, pairs, gaps and limits by values written from the published code's behaviour, and
counts of the real files where they lie."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import mirror_folder

from prompt_oirl.alol import policies
from prompt_oirl.alol.baselines.runs import make_pairs
from prompt_oirl.alol.models.adapters import make_trainable, trained_weights
from prompt_oirl.alol.policies import Baseline, PolicyData
from prompt_oirl.alol.rows import Limits, Row, encode_rows, read_rows, write_rows
from prompt_oirl.alol.steps.options import LengthOptions
from prompt_oirl.alol.tasks import hh, toy
from prompt_oirl.alol.tasks.registry import PUBLISHED_TASKS, get_task
from prompt_oirl.alol.training.loop import LoggedRows, TrainingRows, make_optimiser, one_step
from prompt_oirl.alol.training.losses import PRESETS
from prompt_oirl.alol.training.recipe import TrainingRecipe
from prompt_oirl.alol.training.sampling import RowSampler
from prompt_oirl.io.files import REPO_ROOT, InputError

WORDS = "### Human : Assistant Hi there why is the sky blue It scatters light No A chat user's questions."
TEXT = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
)
TEXT += "detailed, and polite answers to the user's questions.\n### Human: Hi ### Assistant: Hi there "
TEXT += "### Human: why is the sky blue ### Assistant:"


def tokenizer(bos: bool = True) -> Any:
    """One word, one token; BOS (1) before every text as LLaMA's does, </s> (2) at the end of none."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *dict.fromkeys(WORDS.split())])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # type: ignore[call-arg]
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(":"), "isolated")]
    )
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special)


def line(suffix: list[str], reward: list[float]) -> dict[str, Any]:
    turns = ["<|prompter|>Hi", "<|assistant|>Hi there", "<|prompter|>why is the sky blue", "<|assistant|>"]
    meta = {"path": "raw/helpful-online/dev.jsonl"}
    return {"prefix": [turns, turns], "suffix": suffix, "reward": reward, "sft_index": 0, "meta": meta}


LINES = [
    line(["It scatters light", "No"], [0.5, -2.0]),
    line(["No", "It scatters light"], [-1.5, 1.0]),  # the chosen one scores less
    line(["It scatters :", "No"], [0.5, 0.0]),
    line(["It scatters: ", "No"], [0.5, 0.0]),  # a space after the colon: kept, as published
    line(["light", ""], [0.5, 0.25]),
]


def rows_of(tmp_path: Path, lines: list[dict[str, Any]] = LINES) -> tuple[list[Row], int]:
    path = tmp_path / "train.json"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return hh.rows_of(path, "train", both=True)


IDS = [1, 18, 19, *[0] * 18, 11, 20, 21, 3, 4, 5, 7, 3, 6, 5, 7, 8, 3, 4, 5, 9, 10, 11, 12, 13, 3, 6, 5]
PUBLISHED = Limits(640, 128, "cut", special_tokens=True)


def test_prompts_begin_with_bos_and_end_at_the_assistants_colon(tmp_path):
    rows, _ = rows_of(tmp_path)
    assert rows[0].prompt == TEXT
    found = encode_rows(rows[:2], tokenizer(), LengthOptions().limits(hh.TASK))
    assert [row.prompt for row in found] == [IDS, IDS]  # unknown words are 0
    assert [row.response for row in found] == [[14, 15, 16, 2], [17, 2]]
    (bare,) = encode_rows(rows[:1], tokenizer(bos=False), PUBLISHED)  # GPT-2's, say
    assert bare.prompt == IDS[1:]


def test_a_cut_prompt_keeps_bos_and_a_cut_response_has_no_end_of_text(tmp_path):
    rows, _ = rows_of(tmp_path)
    (found,) = encode_rows(rows[:1], tokenizer(), Limits(6, 3, "cut", special_tokens=True))
    assert found.prompt == [1, 12, 13, 3, 6, 5] and found.response == [14, 15, 16]


def test_lines_that_end_with_a_colon_are_dropped_and_empty_responses_are_the_end_of_text(tmp_path):
    rows, dropped = rows_of(tmp_path)
    assert dropped == 1 and len(rows) == 8 and rows[-1].response == ""
    write_rows(tmp_path / "rows.jsonl", rows, "hh")
    assert read_rows(tmp_path / "rows.jsonl", "hh", 1.0, hh.TASK.needs) == rows
    assert encode_rows(rows[-1:], tokenizer(), PUBLISHED)[0].response == [2]


def test_pairs_are_in_the_order_of_the_data_and_gaps_are_raw_logits(tmp_path):
    rows, _ = rows_of(tmp_path)
    found = [(rows[p.chosen].id[-3:], rows[p.rejected].id[-3:], p.gap) for p in make_pairs(rows, 0, "logged")]
    assert found == [("0-0", "0-1", 2.5), ("1-0", "1-1", -2.5), ("3-0", "3-1", 0.5), ("4-0", "4-1", 0.25)]
    by_reward = make_pairs(rows, 0, "reward")
    assert all(p.gap > 0 and rows[p.chosen].reward > rows[p.rejected].reward for p in by_reward)
    with pytest.raises(InputError, match="no logged pairs: pass --pairs reward"):
        make_pairs([row for row in rows if row.chosen], 0, "logged")
    with pytest.raises(InputError, match="--pairs logged: ppo learns from answers of its own"):
        Baseline("ppo", pairs="logged")


def test_a_draw_of_rows_keeps_pairs_together(tmp_path):
    rows, _ = rows_of(tmp_path, [LINES[0]] * 20)
    drawn = hh.drawn_lines(rows, 7, [0])
    assert len(drawn) == 6 and len(make_pairs(drawn, 0, "logged")) == 3


def test_published_tasks_cut_long_responses_and_others_refuse_them():
    for task in PUBLISHED_TASKS:
        limits = LengthOptions().limits(task)
        assert limits.long_responses == "cut" and limits.special_tokens
    assert LengthOptions(long_responses="refuse").limits(hh.TASK).long_responses == "refuse"
    assert LengthOptions().limits(hh.TASK) == PUBLISHED and hh.TASK.pairs == "logged"
    for name in ("toy", "arith", "prompt_writer"):
        limits = LengthOptions().limits(get_task(name))
        assert limits.long_responses == "refuse" and not limits.special_tokens
        assert get_task(name).pairs == "reward"


def test_baselines_see_the_ids_of_the_rows_and_the_raw_gaps(tmp_path):
    """Prompts with BOS once, cut responses without an end of text, logged pairs and logits: as our losses."""
    rows, _ = rows_of(tmp_path)
    limits = Limits(12, 3, "cut", special_tokens=True)
    tokens = encode_rows(rows, tokenizer(), limits)
    data = PolicyData(hh.TASK, tokenizer(), limits, rows, tokens, rows, 1, 1)
    seen: dict[str, Any] = {}

    def stop(model: Any, objective: Any, *_: Any) -> None:
        seen[objective.about[0]] = objective
        raise InterruptedError

    for name in ("dpo", "dpo_ref_free", "pro", "ppo", "rloo"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(policies, "train", stop)
            model, recipe = toy.make_model(0)[0], TrainingRecipe(1, 1)
            policies.train_policy(model, data, Baseline(name), lambda _, found=recipe: found, 0, tmp_path)
    assert len(seen) == 5 and all(objective.tokens is tokens for objective in seen.values())
    assert seen["pro"].pairs == make_pairs(rows, 0, "logged") and seen["dpo"].pairs == seen["pro"].pairs
    assert [pair.gap for pair in seen["pro"].pairs] == [2.5, -2.5, 0.5, 0.25]
    assert seen["PPORecipe"].limit == 3


def test_defaults_are_those_of_the_published_scripts():
    """lolrl_, dpo_, pro_ and ppo_qlora_llama_hh.py: rate, schedule, clip, decay, batch, adapter, rounds."""
    published = TrainingRecipe(
        steps=9000,
        batch_size=4,
        accumulation=4,  # dpo and pro: 2 and 8, so 16 as well
        learning_rate=2e-4,
        schedule="constant",
        weight_decay=0.0,
        adam_epsilon=1e-6,
        max_grad_norm=0.3,
        lora_rank=64,
        lora_alpha=16,
        lora_dropout=0.05,
        eval_every=900,
    )
    assert script("alol_step4_train_policy").Args(task_name="hh").recipe_for(140_000) == published
    baseline = script("alol_step4_train_baseline")
    for name in ("dpo", "dpo_ref_free", "pro"):
        assert baseline.Args(task_name="hh", algorithm=name).recipe_for(140_000) == published
    ppo = baseline.Args(task_name="hh", algorithm="ppo")
    rounds, updates = 6000, 4
    expected = replace(published, steps=rounds * updates, learning_rate=2e-5, eval_every=2400)
    assert ppo.recipe_for(140_000) == expected
    assert replace(ppo, total_steps=1000).recipe_for(9).steps == 1000 * updates
    usual = hh.TASK.settings
    assert (usual.ppo_batches, usual.ppo_epochs, usual.value_epochs, usual.value_rate) == (1, 4, 10, 1e-5)
    assert [published.rate(step) for step in (0, 4500, 8999)] == [2e-4] * 3


def test_the_recipe_reaches_optimiser_clip_and_adapter():
    pytest.importorskip("peft")
    recipe = script("alol_step4_train_policy").Args(task_name="hh", tuning="lora").recipe_for(9)
    model, toy_tokenizer = toy.make_model(0)
    rows = toy.make_rows({"train": 16}, 0)["train"]
    model = make_trainable(model, "lora", recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout)
    adapter = model.peft_config["default"]
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (64, 16, 0.05)
    weights = trained_weights(model)
    optimiser = make_optimiser(weights, recipe)
    (group,) = optimiser.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (2e-4, (0.9, 0.999), 1e-6, 0)
    tokens = encode_rows(rows, toy_tokenizer, Limits(8, 5))
    sampler = RowSampler(np.arange(16), None, 0)
    learned = LoggedRows(TrainingRows(tokens), PRESETS["nll"], sampler, recipe, toy_tokenizer.pad_token_id)
    norm = one_step(model.eval(), weights, learned, optimiser, 0)["gradient_norm"]
    clipped = float(sum(p.grad.square().sum() for p in weights.values()) ** 0.5)
    assert norm > 0.3 and clipped == pytest.approx(0.3, rel=1e-3)


def script(name: str) -> Any:
    path = REPO_ROOT / "alol_exps" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(mirror_folder() is None, reason="no mirror")
def test_counts_of_the_real_pairs():
    """1,723 of 4,666 pairs score less on the chosen side and stay as they are; cleaning drops 336 lines."""
    source = mirror_folder() / "LoL-RL/data/hh_test"  # type: ignore[operator]
    if not (source / "harmless_base.json").is_file():
        pytest.skip("the mirror holds no hh pairs")
    lower = kept = dropped = 0
    gaps = []
    for name in ("harmless_base", "helpful_base"):
        pairs = list(hh.read_pairs(source / f"{name}.json", name))
        lower += sum(logits[0] < logits[1] for *_, logits, _ in pairs)
        rows, n = hh.rows_of(source / f"{name}.json", "train", both=True)
        dropped, kept = dropped + n, kept + len(rows)
        gaps += [pair.gap for pair in make_pairs(rows, 0, "logged")]
    assert (lower, dropped, kept) == (1723, 336, 2 * (4666 - 336))
    assert len(gaps) == 4330 and sum(gap < 0 for gap in gaps) == 1591
    assert np.mean(np.abs(gaps)) == pytest.approx(0.58, abs=0.01)
