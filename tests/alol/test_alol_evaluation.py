"""Step 5 as published: how responses are searched for, what of them counts, and what is measured of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.alol.evaluation import beam_search, text_overlap
from prompt_oirl.alol.steps.evaluate import EvaluationOptions
from prompt_oirl.alol.tasks import toy
from prompt_oirl.alol.tasks.registry import get_task
from prompt_oirl.alol.tasks.task import GREEDY, Search
from prompt_oirl.io.files import InputError

WORD = st.sampled_from("abcde")


@pytest.mark.parametrize(
    "task, flags, found",
    [
        ("hh", {}, GREEDY),
        ("wow", {}, Search(2, 2.5)),
        ("faithdial_wow", {}, Search(2, 2.5)),
        ("reddit_pos", {"decoding": "greedy"}, GREEDY),
        ("comet", {}, Search(2, 2.5, ".")),
        ("comet", {"num_beams": 4}, Search(4, 2.5, ".")),
        ("hh", {"num_beams": 2, "repetition_penalty": 2.5}, Search(2, 2.5)),
        ("hh", {"decoding": "sampled"}, None),
        ("toy", {}, None),
        ("toy", {"num_beams": 3}, Search(3)),
    ],
)
def test_how_a_task_answers(task, flags, found):
    assert EvaluationOptions(task_name=task, **flags).search(get_task(task)) == found


@pytest.mark.parametrize(
    "task, flags, said",
    [
        ("hh", {"samples": 2}, "--samples 2: responses that are not sampled are all the same"),
        ("toy", {"decoding": "greedy", "num_beams": 2}, "--decoding greedy: leave it out with --num_beams"),
        ("toy", {"num_beams": 0}, "--num_beams 0: give 1 or more"),
        ("toy", {"repetition_penalty": 0.5}, "--repetition_penalty 0.5: give 1 or more"),
    ],
)
def test_searches_that_make_no_sense_are_refused(task, flags, said):
    with pytest.raises(InputError, match=said):
        EvaluationOptions(task_name=task, **flags).search(get_task(task))


def log_probs(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(0)


def test_as_many_beams_as_words_find_the_best_of_all_short_responses():
    """Of responses of one or two tokens, by mean log-probability: found by trying all."""
    model, tokenizer = toy.make_model(3)
    end, vocabulary = tokenizer.eos_token_id, range(model.config.vocab_size)
    for text in ("a b c d =", "e"):
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        first = log_probs(model, prompt)
        scores: dict[tuple[int, ...], float] = {(end,): first[end].item()}
        for a in vocabulary:
            if a != end:
                both = (first[a] + log_probs(model, [*prompt, a])) / 2
                scores |= {(a, b): both[b].item() for b in vocabulary}
        best = max(scores, key=lambda ids: scores[ids])
        wide = Search(len(vocabulary))
        (found,) = beam_search.search_responses(model, tokenizer, [prompt], 2, wide, 64)
        assert found == tokenizer.decode(best, skip_special_tokens=True)


def test_one_beam_with_a_penalty_is_greedy_over_penalised_scores():
    model, tokenizer = toy.make_model(1)
    texts = ["a b c d =", "q r", "x y z", "a a a a ="]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                scores = model(torch.tensor([ids])).logits[0, -1]
            for seen in set(ids):
                scores[seen] = scores[seen] * 2.5 if scores[seen] < 0 else scores[seen] / 2.5
            ids.append(int(scores.argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        expected.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    done: list[int] = []
    search = Search(1, 2.5)
    found = beam_search.search_responses(model, tokenizer, prompts, 6, search, 8, done.append)
    assert found == expected and sum(done) == 4
    assert found == beam_search.search_responses(model, tokenizer, prompts, 6, search, 1)
    words = expected[0].split()
    (stopped,) = beam_search.search_responses(model, tokenizer, prompts[:1], 6, Search(1, 2.5, words[1]), 1)
    assert len(words) > 2 and stopped.split() == words[: words.index(words[1]) + 1]


def test_copied_words_by_hand():
    found = text_overlap.coverage_and_density("a b c d e", "a b c x d e")
    assert found == {"coverage": 5 / 6, "density": (9 + 4) / 6}
    assert text_overlap.coverage_and_density("a b", "b c a")["density"] == 2 / 3  # single words count
    assert text_overlap.coverage_and_density("a", "") == {"coverage": 0.0, "density": 0.0}


@given(st.lists(WORD, max_size=8), st.lists(WORD, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_copied_words_keep_their_bounds(source, text):
    found = text_overlap.coverage_and_density(" ".join(source), " ".join(text))
    assert found["coverage"] == pytest.approx(sum(word in source for word in text) / len(text))
    assert found["coverage"] <= found["density"] <= found["coverage"] * len(text) + 1e-9
    assert text_overlap.coverage_and_density(" ".join(text), " ".join(text))["density"] == len(text)


class NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        return []


def test_meteor_by_hand():
    """Six matches in one chunk: penalty .5 (1/6)^3. Three of four words in two chunks: .5 (2/3)^3."""
    pytest.importorskip("nltk")
    texts = ["the cat sat on the mat", "one four two three"]
    references = ["the cat sat on the mat", "two three five one"]
    found = text_overlap.meteor(references, texts, NoSynonyms())
    assert found == pytest.approx([1 - 0.5 / 216, 0.75 * (1 - 0.5 * 8 / 27)])


def test_meteor_without_wordnet_says_how_to_get_it(monkeypatch):
    nltk = pytest.importorskip("nltk")
    from nltk.corpus.util import LazyCorpusLoader

    monkeypatch.setattr(nltk.data, "path", [])
    lazy = LazyCorpusLoader("wordnet", nltk.corpus.reader.WordNetCorpusReader, None)
    monkeypatch.setattr(nltk.corpus, "wordnet", lazy)
    with pytest.raises(InputError, match="python -m nltk.downloader wordnet"):
        text_overlap.meteor(["a"], ["a"])
