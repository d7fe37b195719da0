"""A model folder of somebody else: code that it brings is not run, and nobody is asked whether to."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prompt_oirl.alol.models.checkpoints import load_model, load_tokenizer
from prompt_oirl.alol.rewards.scorers import load_classifier
from prompt_oirl.io.files import InputError
from prompt_oirl.llms.transformers_llm import TransformersLLM

LOADERS: dict[str, Callable[[str], object]] = {
    "policy": lambda name: load_model(name, "cpu"),
    "tokenizer": load_tokenizer,
    "LLM": lambda name: TransformersLLM(name),
    "reward model": load_classifier,
}


@pytest.mark.parametrize("loader", LOADERS)
def test_code_in_a_model_folder_is_not_run(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ran = tmp_path / "model", tmp_path / "ran"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    code = dict.fromkeys(names, "evil.Evil")
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": code}))
    tokens = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    answers = io.StringIO("y\n" * 100)  # to whoever asks whether to trust the folder
    monkeypatch.setattr(sys, "stdin", answers)
    with pytest.raises(InputError) as refused:
        LOADERS[loader](str(folder))
    assert "\n" not in str(refused.value) and not ran.exists() and answers.tell() == 0
