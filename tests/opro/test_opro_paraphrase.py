"""The proposer that rewords: what it picks, what the model reads, what becomes of its reply; and the page of
meta-prompts that shows all of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opro_toy import HELPFUL, pick, quality
from test_opro_loop import Bench

from prompt_oirl.io.files import InputError, read_csv
from prompt_oirl.llms import Conversation, Decoding
from prompt_oirl.llms.budget import Budget
from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.llms.scripted import ScriptedLLM
from prompt_oirl.opro.candidates import ACCEPTED
from prompt_oirl.opro.meta_prompt import MetaPromptSettings
from prompt_oirl.opro.meta_prompt_page import readable
from prompt_oirl.opro.options import SearchOptions
from prompt_oirl.opro.paraphrase import EXAMPLES, REQUEST, Paraphraser, pick_parent
from prompt_oirl.opro.proposals import Proposer
from prompt_oirl.opro.search_proposer import SPACES

META = "text:\nBad.\nscore:\n10\n\ntext:\nBest.\nscore:\n90\n\ntext:\nMiddle.\nscore:\n50\n"


def reword(conversation: Conversation, seed: int) -> str:
    """A small model that keeps the instruction and adds a word to it."""
    instruction = conversation[-1]["content"].removeprefix(REQUEST)
    words = (*HELPFUL, "banana", "hurry", "maybe", "purple")
    return f"{instruction} {words[pick(instruction, seed) % len(words)]}"


def test_better_instructions_are_reworded_more_often() -> None:
    assert pick_parent(META, None) == "Best."
    counts = Counter(pick_parent(META, seed) for seed in range(700))
    assert counts["Best."] == pytest.approx(400, abs=60) and counts["Bad."] == pytest.approx(100, abs=40)
    assert pick_parent("text:\nFirst.\n\ntext:\nLast.\n", None) == "Last.", "hidden scores: the last shown"
    assert pick_parent("nothing was tried yet", None) == EXAMPLES[0][0]


def test_the_model_reads_examples_and_one_instruction_but_no_meta_prompt() -> None:
    model = ScriptedLLM(lambda c, s: " Better.\nAnd so on.")
    [answer] = Paraphraser(model).generate(
        [[{"role": "user", "content": META}]], decoding=Decoding(0, 1, 20), seeds=[3]
    )
    [asked] = model.asked
    assert [turn["role"] for turn in asked] == ["user", "assistant"] * len(EXAMPLES) + ["user"]
    assert asked[-1]["content"] == REQUEST + "Best." and "score" not in str(asked)
    assert answer.text == f"{REQUEST}Best.\n<INS>Better.</INS>\nAnd so on."


def test_a_line_that_the_limit_cut_has_no_closing_tag() -> None:
    model = ScriptedLLM(lambda c, s: "one two three four")
    [answer] = Paraphraser(model).generate(
        [[{"role": "user", "content": META}]], decoding=Decoding(0, 1, 2), seeds=[0]
    )
    assert answer.text.endswith("<INS>one two") and answer.finish_reason == "length"


@given(st.text(max_size=200), st.integers(0, 2**31))
def test_any_text_yields_an_instruction_to_reword(text: str, seed: int) -> None:
    assert pick_parent(text, seed)


def test_a_run_climbs_by_rewording_and_its_page_shows_every_fate(tmp_path: Path) -> None:
    run = Bench(tmp_path, optimizer=Paraphraser(ScriptedLLM(reword))).go(steps=6, samples=8)
    assert run.winner and run.winner.prompt and quality(run.winner.prompt.text) >= 2
    page = (tmp_path / "run" / "meta_prompts.txt").read_text()
    rows = read_csv(tmp_path / "run" / "candidates.csv", hint="")
    assert page.count("\n--> ") == len(rows) == 1 + 6 * 8
    assert all(page.count(f": the meta-prompt\n{'=' * 78}\n{text}") for text in run.meta_prompts)
    blocks = page.split("\n----- step ")[1:]
    for row, block in zip([r for r in rows if int(r["step"]) >= 0], blocks, strict=True):
        assert block.startswith(f"{row['step']}, reply {row['sample']} -----\n{REQUEST}")
        assert f"--> {row['verdict']}" in block
        if row["verdict"] == ACCEPTED:
            assert f"train {float(row['train']):.1%} of 30, measured" in block
    assert "\x1b" not in readable("a\x1b[2Jb\nc") and readable("a\nb") == "a\nb"


def proposers(**flags: object) -> None:
    SearchOptions(optimizer=ModelOptions("folder/m"), **flags).proposers(SPACES["small"])  # type: ignore[arg-type]


def test_flags_that_cannot_be_are_refused() -> None:
    for top_p in (0.0, 1.5):
        with pytest.raises(InputError, match=f"--optimizer_top_p {top_p}"):
            proposers(optimizer_top_p=top_p)
    with pytest.raises(InputError, match="--proposer paraphrase reads the layout chat"):
        proposers(proposer="paraphrase", meta=MetaPromptSettings(layout="bracket"))
    proposers(proposer="paraphrase", optimizer_top_p=0.5)


def test_the_optimizer_samples_with_its_top_p(tmp_path: Path) -> None:
    seen = []

    class Watched(ScriptedLLM):
        def generate(self, conversations, *, decoding, seeds):  # type: ignore[no-untyped-def]
            seen.append(decoding)
            return super().generate(conversations, decoding=decoding, seeds=seeds)

    def proposer(top_p: float) -> Proposer:
        model = Paraphraser(Watched(reword))
        return Proposer(lambda: model, "m-paraphrase", tmp_path / "p.jsonl", 0, Budget(), 20, top_p)

    [kept] = proposer(0.9).propose(META, 0, 1, 1.0)
    assert seen == [Decoding(1.0, 0.9, 20)] and kept.top_p == 0.9
    with pytest.raises(InputError, match="temperature 1 and top_p 0.9, not by m-paraphrase at 1 and 0.5"):
        proposer(0.5).propose(META, 0, 1, 1.0)
