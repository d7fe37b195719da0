"""How a conversation is written for a model: by its own template, LLaMA-2's, or as plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import write_meta_folder
from transformers import AutoTokenizer

from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.llms.chat import conversation, encode, render, set_chat_format
from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.llms.transformers_llm import TransformersLLM
from prompt_oirl.opro.runs import check_model

SYSTEM = conversation("Q?", Prompt("p", "Think.", "system"))
OPEN = conversation("Q?", Prompt("p", "So:", "answer_start"))


@pytest.fixture
def tokenizer() -> Any:
    """Of the tiny model: it has a template and no BOS."""
    return AutoTokenizer.from_pretrained(REPO_ROOT / "data" / "nano_llama")


def test_auto_keeps_the_models_own_template_in_silence(tokenizer: Any, capsys: Any) -> None:
    set_chat_format(tokenizer, "auto")
    assert render(tokenizer, SYSTEM) == "Think.\nQ?\n"
    assert capsys.readouterr().err == ""


def test_auto_says_that_a_model_brings_no_template(tokenizer: Any, capsys: Any, monkeypatch: Any) -> None:
    tokenizer.chat_template = None
    set_chat_format(tokenizer, "auto")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no chat template: LLaMA-2's" in said and "--chat_format none" in said
    assert render(tokenizer, SYSTEM) == "[INST] <<SYS>>\nThink.\n<</SYS>>\n\nQ? [/INST]"
    monkeypatch.setenv("RANK", "1")
    set_chat_format(tokenizer, "auto")
    assert capsys.readouterr().err == "", "one process of several says it"


def test_llama2_replaces_a_template_and_begins_with_the_bos(tokenizer: Any) -> None:
    tokenizer.bos_token = "<|pad|>"
    set_chat_format(tokenizer, "llama2")
    assert render(tokenizer, OPEN) == "<|pad|>[INST] Q? [/INST] So:"


def test_plain_text_is_the_turns_one_a_line(tokenizer: Any, capsys: Any) -> None:
    set_chat_format(tokenizer, "none")
    assert render(tokenizer, SYSTEM) == "Think.\nQ?"
    assert render(tokenizer, OPEN) == "Q?\nSo:"
    assert encode(tokenizer, OPEN) == tokenizer("Q?\nSo:")["input_ids"]
    assert capsys.readouterr().err == ""


def test_metas_folder_has_its_format_and_plain_text_its_bos(
    tmp_path: Path, meta_state: Any, sentencepiece_model: Path, capsys: Any
) -> None:
    folder = str(write_meta_folder(tmp_path, meta_state, 1, sentencepiece_model))
    auto, forced = TransformersLLM(folder), TransformersLLM(folder, chat_format="llama2")
    assert auto.encode(SYSTEM) == forced.encode(SYSTEM)
    plain = TransformersLLM(folder, chat_format="none")
    assert plain.encode(SYSTEM) == plain.tokenizer("Think.\nQ?")["input_ids"]
    assert plain.encode(SYSTEM)[0] == plain.tokenizer.bos_token_id
    assert "chat template" not in capsys.readouterr().err


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    auto, plain = ModelOptions("folder/m"), ModelOptions("folder/m", chat_format="none")
    assert auto.identity() == {"model": "m", "max_seq_len": 512}, "logs made before the flag stay valid"
    files.check_model(auto.identity())
    with pytest.raises(InputError, match="'chat_format': 'none'.*--llm"):
        files.check_model(plain.identity())
    scored = LogFiles(tmp_path, "opro")
    check_model(scored, plain)
    check_model(scored, plain)
    with pytest.raises(InputError, match="'chat_format': 'none'.*--llm"):
        check_model(scored, auto)


def test_a_server_takes_no_chat_format() -> None:
    with pytest.raises(InputError, match="--scorer.chat_format is for --scorer.backend transformers"):
        ModelOptions(backend="openai", model="m", chat_format="none").check("scorer.")
