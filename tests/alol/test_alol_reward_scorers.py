"""Reward models of the published formats give what their own classes would, alone and in ragged batches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_reward_models as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import run_in_process
from safetensors.torch import load_file, save_file

from prompt_oirl.alol.rewards import critic_weights, scorers
from prompt_oirl.alol.tasks import task_rewards
from prompt_oirl.io.files import REPO_ROOT, InputError

TEXTS = ["the city is big", "yes", "robin goes home and feels happy", "no no no"]


def alone_and_together(score: scorers.Score, texts: list) -> np.ndarray:
    together = score(texts)
    assert np.allclose(together, [score([text])[0] for text in texts], atol=1e-6)
    assert together.std() > 1e-4 and (together > 0).all() and (together < 1).all()
    return together


@pytest.mark.parametrize("as_bin", [False, True])
def test_a_classifier_with_two_labels(tmp_path, as_bin):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny.classifier(tmp_path, 1, as_bin=as_bin)
    found = alone_and_together(scorers.load_classifier(str(folder)), TEXTS)
    other = scorers.load_classifier(str(folder), label=0)(TEXTS)
    assert np.allclose(found + other, 1)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")["input_ids"]
    assert found[0] == pytest.approx(model(ids).logits.softmax(1)[0, 1].item(), abs=1e-6)


def test_pairs_and_long_texts(tmp_path):
    score = scorers.load_classifier(str(tiny.classifier(tmp_path, 1)), label=0)
    pairs = [("paris is big", "the city is big"), ("paris is big", "no"), ("yes", "no")]
    alone_and_together(score, pairs)
    assert np.isfinite(score(["big " * 200])).all()  # longer than the model's positions


def test_dialog_rpt_reads_the_last_word(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny.classifier(tmp_path, 2, gpt2=True)
    threads = [f"{text} {tiny.END} yes it is" for text in TEXTS]
    found = alone_and_together(scorers.load_classifier(str(folder)), threads)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(threads[2], return_tensors="pt")["input_ids"]
    assert found[2] == pytest.approx(model(ids).logits.sigmoid().item(), abs=1e-6)


def test_toxichat_judges_at_the_last_end_of_text(tmp_path):
    model, layer = tiny.toxichat(tmp_path)
    threads = [f"{text} {tiny.END} yes it is {tiny.END}" for text in TEXTS]
    found = alone_and_together(scorers.load_last_end(str(tmp_path)), threads)
    ids = torch.tensor([scorers._tokenizer(str(tmp_path))(threads[0])["input_ids"]])
    assert ids[0, -1] == 0
    wanted = layer(model.transformer(ids).last_hidden_state[:, -1]).softmax(1)[0, 0]
    assert found[0] == pytest.approx(wanted.item(), abs=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_open_assistant(tmp_path, pooling):
    model, layer = tiny.open_assistant(tmp_path, pooling)
    found = alone_and_together(scorers.load_pooled_neox(str(tmp_path)), TEXTS)
    ids = torch.tensor([scorers._tokenizer(str(tmp_path))(TEXTS[2])["input_ids"]])
    states = model(ids).last_hidden_state
    pooled = states[:, -1] if pooling == "last" else states.mean(1)
    assert found[2] == pytest.approx(layer(pooled).sigmoid().item(), abs=1e-6)


def wanted_critic(model, head, folder: Path, pair) -> float:
    ids = scorers._tokenizer(str(folder))(*pair, return_tensors="pt")["input_ids"]
    hidden = torch.nn.functional.gelu(model(ids).pooler_output @ head["dense.weight"].T + head["dense.bias"])
    return (hidden @ head["out_proj.weight"].T + head["out_proj.bias"]).sigmoid().item()


PAIRS = [("alex goes home", "so alex is happy"), ("alex goes home", "robin wants it"), ("robin", "sad")]


@pytest.mark.parametrize("form", ["pt", "bin", "safetensors"])
def test_convert_critic_takes_a_head_alone(tmp_path, form):
    """The script as a user runs it, and the real loading code on what it wrote."""
    model, head = tiny.critic(tmp_path / "encoder")
    file = tmp_path / f"custom_roberta_classification_head.{form}"
    save_file(head, file) if form == "safetensors" else torch.save(head, file)
    command = ["scripts/convert_critic.py", "--weights", str(file), "--encoder", str(tmp_path / "encoder")]
    result = run_in_process([sys.executable, *command, "--output", tmp_path / "critic"], REPO_ROOT)
    assert result.returncode == 0, result.stderr
    found = alone_and_together(scorers.load_critic(str(tmp_path / "critic")), PAIRS)
    assert found[1] == pytest.approx(wanted_critic(model, head, tmp_path / "encoder", PAIRS[1]), abs=1e-5)
    assert load_file(tmp_path / "critic" / "head.safetensors").keys() == head.keys()


def keras_file(path: Path, model, head: dict[str, torch.Tensor], drop: str = "") -> None:
    """What Keras's save_weights writes of the critic: kernels (in, out), its own names, groups of layers."""
    import re

    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, value in model.state_dict().items():
            if name.endswith(("position_ids", "token_type_ids")) or (drop and drop in name):
                continue
            array = value.numpy()
            layer, _, last = name.rpartition(".")
            if "LayerNorm" in name:
                last = {"weight": "gamma", "bias": "beta"}[last]
            elif "embeddings" in name:
                last = "weight" if "word" in name else "embeddings"
            elif last == "weight":
                last, array = "kernel", array.T
            layer = re.sub(r"layer/(\d+)", r"layer_._\1", layer.replace(".", "/"))
            file[f"roberta/roberta/{layer}/{last}:0"] = array
        for ours, theirs in (("dense", "dense"), ("out_proj", "dense_1")):
            file[f"{theirs}/{theirs}/kernel:0"] = head[f"{ours}.weight"].T.numpy()
            file[f"{theirs}/{theirs}/bias:0"] = head[f"{ours}.bias"].numpy()


def test_convert_critic_takes_a_keras_file(tmp_path):
    model, head = tiny.critic(tmp_path / "encoder")
    keras_file(tmp_path / "critic.h5", model, head)
    with torch.no_grad():  # the encoder's own weights must come from the Keras file
        fresh, _ = tiny.critic(tmp_path / "other")
        for p in fresh.parameters():
            p.zero_()
        fresh.save_pretrained(tmp_path / "other")
    found_head, encoder = critic_weights.read(tmp_path / "critic.h5")
    critic_weights.write(tmp_path / "out", str(tmp_path / "other"), found_head, encoder)
    found = scorers.load_critic(str(tmp_path / "out"))(PAIRS)
    assert found[0] == pytest.approx(wanted_critic(model, head, tmp_path / "encoder", PAIRS[0]), abs=1e-5)
    keras_file(tmp_path / "less.h5", model, head, drop="layer.1.output")
    with pytest.raises(InputError, match="no weights for encoder.layer.1.output"):
        critic_weights.write(
            tmp_path / "out", str(tmp_path / "other"), *critic_weights.read(tmp_path / "less.h5")
        )


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/must-not-exist-alol"),))


def test_weights_are_never_unpickled(tmp_path):
    tiny.critic(tmp_path / "encoder")
    torch.save({"dense.weight": Bomb()}, tmp_path / "head.pt")
    for call in (
        lambda: critic_weights.read(tmp_path / "head.pt"),
        lambda: critic_weights.read(tmp_path / "encoder"),
        lambda: critic_weights.read(tmp_path / "none.bin"),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert "\n" not in str(error.value)
    assert not Path("/tmp/must-not-exist-alol").exists()


def test_damaged_models_are_refused(tmp_path):
    model, _ = tiny.toxichat(tmp_path / "toxic")
    torch.save(model.state_dict(), tmp_path / "toxic" / "pytorch_model.bin")
    with pytest.raises(InputError, match="no weights for off_classifier.*--reward_models"):
        scorers.load_last_end(str(tmp_path / "toxic"))
    tiny.critic(tmp_path / "critic")
    with pytest.raises(InputError, match="run scripts/convert_critic.py"):
        scorers.load_critic(str(tmp_path / "critic"))
    with pytest.raises(InputError, match="cannot be used"):
        scorers.load_classifier(str(tmp_path / "nothing"))
    tiny.classifier(tmp_path / "cola", 1)
    state = load_file(tmp_path / "cola" / "model.safetensors")
    state.pop("classifier.out_proj.weight")
    save_file(state, tmp_path / "cola" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="no weights for classifier.out_proj.weight"):
        scorers.load_classifier(str(tmp_path / "cola"))


def test_word_weights_are_the_published_formula(tmp_path):
    """Against scikit-learn's two published steps, and the jump of the length factor at five words."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    texts = ["it is a big city", "robin goes home", "alex goes home and feels happy in a big big city", "yes"]
    task_rewards.fit_tfidf(tmp_path / "tfidf.json", texts)
    score = task_rewards.load_tfidf(str(tmp_path / "tfidf.json"))
    counts = CountVectorizer().fit(texts)
    vectors = TfidfTransformer().fit(counts.transform(texts)).transform(counts.transform(texts))
    for text, vector, found in zip(texts, vectors, score(texts)):
        factor = vector.nnz / 10 if vector.nnz < 5 else 1
        assert found == pytest.approx(vector.data.mean() * factor), text
    assert score(["unheard words"])[0] == 0
    assert json.loads((tmp_path / "tfidf.json").read_text())["words"] == sorted(counts.vocabulary_)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_final_reward_is_the_sum(values):
    found = task_rewards.with_sum({f"c{i}": np.array([v]) for i, v in enumerate(values)}, 1)
    assert found[0]["final_reward"] == pytest.approx(sum(values))
