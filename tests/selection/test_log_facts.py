"""What is said of a log before anything is learned: answers that were cut, and only those."""

from __future__ import annotations

import pandas as pd
import pytest

from prompt_oirl.data.user_log import read_log
from prompt_oirl.selection.log_facts import data_facts, ends_in_mid_sentence

WHOLE = [
    "",
    "False",
    "B",
    "(A)",
    "the red ball",
    "42",
    "burley bela milch garrison moran prank reverie satisfy staunch vassar",
    "First, we add both numbers of apples, which gives 12",
    "First, we add both numbers of apples, which gives 12 apples",
    "First, Ann buys 3 apples, then Bob buys 4. So the distance is 25 km",
    "First, Ann looks at the balls, then at the box. So the answer is the small blue one",
    "First, Ann looks at the balls, and then at the box.\nAnswer: blue",
    "We look at the balls, and then at the box, so it is **blue**",
    "We look at the balls, and then at the box, so it is (B)",
    'We look at the balls, and then at the box. She says "yes we can"',
    "We look at the balls, and then we write this:\n```python\nreturn a + b\n```",
    "We look at the balls, and then we write this:\nx = first(a, b) or other",
    '{"steps": ["look at the balls", "look at the box"], "answer": "blue"}',
    "We look at the balls, and then at the box, so x = y",
    "Wir sehen uns die Bälle an, dann die Kiste, und sind fertig!\n",
    "我们先看红色的球，然后再看蓝色的箱子，所以一共有12个苹果",
    "我们先看红色的球，然后再看蓝色的箱子，所以答案是蓝色",
    "我们先看红色的球，然后再看蓝色的箱子。",
]
CUT = [
    "so first we will take the number of all the",
    "Ann has 3 apples and finds 4 more. To find how many apples",
    "Ann has 3 apples, and Bob has 4 apples. Together, then, they",
    "Let us think about the balls, the box, and the red,",
    "Let us think about the balls in the box (",
    "我们先看红色的球，然后再看蓝色的箱子，最后我们再把所有",
]


@pytest.mark.parametrize("text", WHOLE)
def test_an_answer_that_says_what_it_has_to_say_is_whole(text: str) -> None:
    assert not ends_in_mid_sentence(text)


@pytest.mark.parametrize("text", CUT)
def test_prose_without_its_end_is_cut(text: str) -> None:
    assert ends_in_mid_sentence(text) and not ends_in_mid_sentence(text + " end.")


def truncated(**answers: list[str]) -> dict[str, float]:
    rows = [
        (f"Why does thing{i} fall?", prompt, i % 2, texts[i % len(texts)])
        for i in range(24)
        for prompt, texts in answers.items()
    ]
    log = pd.DataFrame(rows, columns=["question", "prompt", "correct", "answer"])
    return data_facts(read_log(log.assign(prompt_id=log.prompt))).truncated


def test_a_prompt_is_named_with_the_share_of_its_answers() -> None:
    assert truncated(a=CUT[:3], b=["It is so.", *CUT[:1]], c=["It is so.", "yes", "no", *CUT[:1]]) == {
        "a": 1.0,
        "b": 0.5,
    }
    assert truncated(a=["False", "True"], b=WHOLE[6:7]) == {}


def test_where_no_answer_ends_a_sentence_none_is_called_cut() -> None:
    """A log of short notes without full stops: that is its style."""
    assert truncated(a=["apples and pears of the red tree in the garden there"], b=["all of it"]) == {}
    assert truncated(a=["apples and pears of the red tree in the garden there"], b=["All of it."]) == {
        "a": 1.0
    }


def test_prompts_that_are_named_by_number_are_quoted() -> None:
    long = "Let us look at this from every side, one after another,\nand then decide: "
    rows = [(f"Why does thing{i} fall?", p, int(p == "A:")) for i in range(24) for p in ("A:", long, "")]
    facts = data_facts(read_log(pd.DataFrame(rows, columns=["question", "prompt", "correct"])))
    assert facts.lines()[-3:] == [
        "Never right, probably broken or graded wrongly: prompt 2, prompt 3.",
        "prompt 2 reads: Let us look at this from every side, one after another, and …",
        "prompt 3 reads: (no prompt)",
    ]
    named = pd.DataFrame([r + (r[1] or "none",) for r in rows])
    named.columns = ["question", "prompt", "correct", "prompt_id"]
    assert data_facts(read_log(named)).texts == {"none": "(no prompt)"}
