"""The forms that LLMs of today give an answer, as rules: a said value becomes a text, nothing is drawn here.

A rule is a list of (spelling, template); `write` takes one of them. In a template VALUE is what is said,
OTHER another value of the same question, WORKING what an LLM once wrote on it, NEXT another question. What a
reader takes the text to say is labelled by reading, not by the rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import number_spellings as spellings
from number_spellings import VULGAR, Spelling


@dataclass(frozen=True)
class Said:
    """What a text is to say: two values of one question, written as "1234.5", or as letter, word or text."""

    value: str
    other: str
    working: str
    following: str


@dataclass(frozen=True)
class Form:
    """A rule: its spellings and templates, and which questions and values it takes."""

    variants: tuple[tuple[Spelling, str], ...]
    fits: Callable[[Fraction], bool] = lambda value: True
    kind: str = "number"
    asks: str = ""  # a pattern that the question must contain


def write(form: Form, variant: int, said: Said) -> str:
    """The text of variant number `variant`, counted round, of a form."""
    spell, template = form.variants[variant % len(form.variants)]
    parts = {
        "VALUE": spell(said.value),
        "OTHER": spell(said.other),
        "WORKING": said.working,
        "NEXT": said.following,
    }
    return re.sub("|".join(parts), lambda token: parts[token[0]], template)


def _each(*templates: str, spell: Spelling = spellings.plain) -> tuple[tuple[Spelling, str], ...]:
    return tuple((spell, template) for template in templates)


def _whole(least: int, multiple: int = 1) -> Callable[[Fraction], bool]:
    return lambda value: value.denominator == 1 and value >= least and value % multiple == 0


FORMS: dict[str, Form] = {
    "boxed": Form(
        _each(
            "Putting the parts together:\n\n$$\\boxed{VALUE}$$",
            r"The final answer is $\boxed{\text{VALUE}}$.",
            r"\[ x = \boxed{VALUE} \]",
            r"Therefore, the total is \(\boxed{\$VALUE}\), counted over all 7 days.",
            spell=spellings.latex_thousands,
        ),
        fits=_whole(1000),
    ),
    "fraction": Form(
        (
            (spellings.latex_fraction, r"The answer is $\boxed{VALUE}$."),
            (spellings.latex_fraction, r"Two steps lead there, and what is left is \(VALUE\)."),
            (spellings.vulgar, "The answer is VALUE."),
            (spellings.vulgar, "VALUE"),
        ),
        fits=lambda value: value > 0 and value % 1 in VULGAR,
    ),
    "bold": Form(
        _each(
            "**VALUE**",
            "**Answer:** VALUE",
            "**Step 1:** Find both parts.\n**Step 2:** Add the 2 parts.\n\n**Final answer: VALUE**",
            "WORKING\n\n**VALUE**",
        )
    ),
    "heading": Form(
        _each(
            "### Working\nWORKING\n\n### Final Answer\nVALUE",
            "## Step 1\nRead the question.\n\n## Step 2\nWork it out.\n\n## Final Answer: VALUE",
            "# Answer\n\nVALUE\n\n# Check\n\nVALUE differs from OTHER by what the 2nd step adds.",
        )
    ),
    "json": Form(
        _each(
            '{"answer": VALUE}',
            '```json\n{"reasoning": "took 3 steps", "answer": "VALUE", "confidence": 0.95}\n```',
            '{"final_answer": VALUE, "candidates": [VALUE, OTHER]}',
            '{"steps": ["first OTHER", "then VALUE"], "answer": {"value": VALUE, "unit": null}}',
        )
    ),
    "think": Form(
        _each(
            "<think>WORKING Is it OTHER? Let me check again.</think>\n\nVALUE",
            "<think>\nThe answer is OTHER? No, I missed a step.\n</think>\n\nThe answer is VALUE.",
            "<think>\nFirst thought: VALUE. So the answer is OTHER.\n</think>\n\n**VALUE**",
            "<think>\nThe answer must be VALUE, or is the answer OTHER? I have to count again, from 1 to",
        )
    ),
    "tags": Form(
        _each(
            "<answer>VALUE</answer>",
            "<reasoning>The answer is not far from OTHER.</reasoning>\n<answer>\nVALUE\n</answer>",
            "<answer>VALUE</answer>\n<confidence>90</confidence>",
        )
    ),
    "explained": Form(
        _each(
            "VALUE. I found it in 2 steps: first the parts, then what they come to.",
            "The answer is VALUE, since OTHER would leave out 1 of the parts.",
            "Answer: VALUE\n\nExplanation: WORKING",
            "It comes to VALUE. (With OTHER the numbers in the question would not fit together.)",
        )
    ),
    "run_on": Form(
        _each(
            "The answer is VALUE.\n\nQ: NEXT\nA: The answer is OTHER.",
            "VALUE\n\nQuestion: NEXT\nAnswer: OTHER",
            "#### VALUE\n\n### Instruction:\nNEXT\n\n### Response:\n#### OTHER",
            "VALUE.\n\nNEXT",
        )
    ),
    "below_zero": Form(
        (
            (spellings.negative, "The answer is VALUE."),
            (spellings.in_words, "The answer is VALUE."),
            (spellings.true_minus, "So we are left with VALUE."),
            (spellings.negative, "VALUE"),
        ),
        fits=lambda value: value < -1,
    ),
    "words": Form(
        _each(
            "The answer is VALUE.",
            "VALUE",
            "There are VALUE of them in all, not OTHER.",
            "After 2 steps we find that the answer is VALUE.",
            spell=spellings.in_words,
        ),
        fits=_whole(11),
    ),
    "scientific": Form(
        (
            (spellings.scientific, "The answer is VALUE."),
            (spellings.scientific_latex, r"\boxed{VALUE}"),
            (spellings.scientific_e, "VALUE"),
            (spellings.scientific_superscript, "That makes VALUE in total."),
        ),
        fits=_whole(1000, 100),
    ),
    "scale": Form(
        (
            (spellings.scale_word, "The answer is VALUE."),
            (spellings.scale_letter, "Total: VALUE"),
            (spellings.scale_word, "That is $VALUE."),
            (spellings.scale_letter, "**VALUE**"),
        ),
        fits=_whole(1000, 100),
    ),
    "locale": Form(
        (
            (spellings.german, "Die Antwort ist VALUE."),
            (spellings.french, "La réponse est VALUE."),
            (spellings.swiss, "The answer is VALUE."),
            (spellings.indian, "The answer is Rs. VALUE."),
        ),
        fits=_whole(1000),
    ),
    "digits": Form(
        (
            (spellings.full_width, "答えはVALUEです。"),
            (spellings.arabic_indic, "الجواب هو VALUE."),
            (spellings.devanagari, "उत्तर VALUE है।"),
            (spellings.bold_digits, "The answer is VALUE."),
        )
    ),
    "cjk": Form(
        _each(
            "答案是VALUE。",
            "所以一共有VALUE个。",
            "答えはVALUEです。2回確かめました。",
            "정답은 VALUE입니다.",
        )
    ),
    "units": Form(
        _each(
            "The answer is VALUE ft^2.",
            "VALUE ft²",
            r"$VALUE \text{ ft}^2$",
            "The area comes to VALUE sq. ft (1 sq. ft = 0.0929 m^2).",
        ),
        asks=r"square f",
    ),
    "hedge": Form(
        _each(
            "The answer is either VALUE or OTHER.",
            "It could be OTHER or VALUE, depending on how you read the question.",
            "VALUE or OTHER",
            "I first thought of OTHER, but VALUE is what the question asks for.",
        )
    ),
    "negation": Form(
        _each(
            "The answer is not OTHER, it is VALUE.",
            "It is VALUE, not OTHER.",
            "The answer is not VALUE.",
            "OTHER is not the answer; VALUE is.",
        )
    ),
    "refusal": Form(
        _each(
            "I cannot determine the answer: the question does not say whether VALUE counts.",
            "I'm sorry, but I can't help with that (code VALUE).",
            "There is not enough information to answer. With one more number it could be VALUE.",
            "I'm not sure how to read the question, but the answer is VALUE.",
        )
    ),
    "courtesy": Form(
        _each(
            "The answer is VALUE. Let me know if you have any other questions!",
            "VALUE\n\nI hope this helps! I am here 24/7.",
            "So it is VALUE in total.\n\nWould you like to see another way to solve it in 3 steps?",
            "Great question! The answer is VALUE.\n\n---\n*Rate this answer from 1 to 5.*",
        )
    ),
    "letters": Form(
        _each(
            "**VALUE**",
            r"The correct answer is $\boxed{\text{VALUE}}$.",
            "I would go with option VALUE, although OTHER comes close.",
            "$VALUE$",
            "The answer is not (OTHER) but (VALUE).",
            "VALUE) is right. A common mistake is OTHER).",
        ),
        kind="choice",
    ),
    "truth": Form(
        _each(
            "VALUE, that is how it stands.",
            "So the answer is **VALUE**.",
            "It might look like OTHER at first, but the answer is VALUE.",
            "I would say VALUE, though one could argue for OTHER.",
        ),
        kind="bool",
    ),
    "texts": Form(
        _each(
            'The answer is "VALUE".',
            "It is VALUE.",
            "**VALUE**",
            "Answer: VALUE\n\nMany people think of OTHER, but that is wrong.",
        ),
        kind="text",
    ),
    "corrected": Form(
        _each(
            "The answer is OTHER. Wait, I forgot the last step: the answer is VALUE.",
            "OTHER... no, scratch that: VALUE.",
            "The answer is VALUE.\n\nCheck: had I left out a step, the answer would be OTHER.",
            "Answer: OTHER\n\nCorrection: VALUE",
        )
    ),
}

# Questions whose right answers hold dots and quotes, which number and choice benchmarks do not have.
TEXTS = (
    ("Who wrote The Lord of the Rings?", "J. R. R. Tolkien", "C. S. Lewis"),
    ("What is the capital of the United States?", "Washington, D.C.", "New York"),
    ("Which Shakespeare play holds the line 'To be, or not to be'?", "Hamlet", "Macbeth"),
    ("Which capital lies on Grenada?", "St. George's", "St. John's"),
    ("What is the file name of Python's package initialiser?", "__init__.py", "__main__.py"),
    ("Which company makes the M&M's?", "Mars, Inc.", "Hershey Co."),
    ("Which novel by Orwell is named after a year?", "Nineteen Eighty-Four", "Animal Farm"),
    ("What does a greeting program print, with its quotes?", '"Hello, world!"', '"Hello?"'),
)
