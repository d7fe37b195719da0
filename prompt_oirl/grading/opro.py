"""OPRO's published grader, kept for comparison only (`--grader opro`): lenient, and it can be hacked.

It takes a gold that stands anywhere inside an answer as right, drops signs, and reads words as digits; on
several tasks a constant answer scores 100 % (google-deepmind/opro, evaluation/metrics.py; specification of
OPRO, 2.2 to 2.4).
"""

from __future__ import annotations

import re
import string

from prompt_oirl.grading.numerals import TENS, UNITS
from prompt_oirl.grading.plain_text import MAX_CHARACTERS

# How the next question, and a worked answer, are announced in the eleven languages of MGSM.
_NEXT_QUESTION = (
    "question:",
    "frage:",
    "pregunta:",
    "question :",
    "задача:",
    "问题:",
    "問題:",
    "โจทย์:",
    "swali:",
    "প্রশ্ন:",
    "ప్రశ్న:",
    "q:",
)
_WORKED_ANSWER = (
    "step-by-step answer:",
    "schritt-für-schritt-antwort:",
    "respuesta paso a paso:",
    "réponse étape par étape :",
    "пошаговое решение:",
    "逐步解答:",
    "ステップごとの答え:",
    "คำตอบทีละขั้นตอน:",
    "jibu la hatua kwa hatua:",
    "ধাপে ধাপে উত্তর:",
    "దశలవారీగా సమాధానం:",
    "#### ",
)
_FIRST_CHOICE, _SECOND_CHOICE = ("answer is ", "answer: ", "answer is: "), ("is: ", "are: ")
_BEHIND = (" is the correct answer", " is the right answer", " is the final answer", " is the answer")
_NUMBER_WORDS = {word: str(i) for i, word in enumerate(UNITS.split())}
_NUMBER_WORDS |= {word: str(20 + 10 * i) for i, word in enumerate(TENS.split())}
_TRUTH = {"false": False, "true": True, "no": False, "yes": True, "invalid": False, "valid": True}
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(prediction: str, kind: str) -> str:
    """The published reading of an answer: a number without sign of doubt, a truth word, or a text."""
    prediction = prediction[-MAX_CHARACTERS:]
    text, indicated = _indicated(prediction)
    letters = re.findall(r"\([a-zA-Z]\)", text)
    if len(set(letters)) == 1:
        group = re.search(r"\(.*?\)", text)
        text = group[0] if group else text
    if kind == "number":
        return _number(text, indicated)
    text = text.split(".")[0]
    if kind == "bool":
        if text not in _TRUTH:
            text = {"0": "false", "1": "true"}.get(text, text)
        text = text.translate(_DROP_PUNCTUATION)
    return text


def _indicated(prediction: str) -> tuple[str, bool]:
    """The part of an answer that follows or precedes an announcement, and whether there was one."""
    text = prediction.lower().strip()
    choice = _FIRST_CHOICE if any(marker in prediction for marker in _FIRST_CHOICE) else _SECOND_CHOICE
    for marker in _NEXT_QUESTION:
        text = text.split(marker)[0]
    indicated = False
    for marker in (*_WORKED_ANSWER, *choice):
        if marker in text:
            text, indicated = text.split(marker)[-1], True
    for marker in _BEHIND:
        if marker in text:
            text, indicated = text.split(marker)[0], True
    text = text.strip()
    while text and text[-1] in ".'":
        text = text[:-1]
    return text, indicated


def _number(text: str, indicated: bool) -> str:
    text = re.sub(r"[$,%€£]", "", text.split("=")[-1]).split(":")[0].strip()
    for word, digits in _NUMBER_WORDS.items():
        text = text.replace(word, digits)
    tokens = text.split(" ") if indicated else text.split(" ")[::-1]
    token = next((t for t in tokens if not t.isalpha()), tokens[0])
    token = token.rstrip("".join({c for c in token if c.isalpha()})).removesuffix("-")
    try:
        return f"{round(float(token)):.0f}"
    except (ValueError, OverflowError):
        found = re.findall(r"\d+", token)
        return found[-1] if found else token


def correct(prediction: str, gold: str, kind: str, question: str = "") -> bool:
    """The published verdict on one answer.

    Parameters
    ----------
    prediction : text of the LLM, of which the last 20,000 characters are graded
    gold : the right answer
    kind : number, choice, bool or text
    question : its text, read for a choice only: its options, one a line as "(A) text" or "A) text"

    Source: google-deepmind/opro, evaluation/metrics.py; specification of OPRO, 2.2 to 2.4.
    """
    said, truth = normalized(prediction, kind), gold.lower().strip()
    if kind == "number":
        truth = _number(truth, True)
    if kind == "choice" and _same_option(said, truth, question):
        return True
    if _equal(said, truth) or (said in _TRUTH and truth in _TRUTH and _TRUTH[said] == _TRUTH[truth]):
        return True
    return kind != "number" and truth in said


def _equal(said: str, truth: str) -> bool:
    unwrapped = [text[1] if re.fullmatch(r"\(.\)", text) else text for text in (said, truth)]
    bare = [text.translate(_DROP_PUNCTUATION).strip() for text in (said, truth)]
    return unwrapped[0] == unwrapped[1] or bare[0] == bare[1]


def _same_option(said: str, truth: str, question: str) -> bool:
    """Does an answer give the true option's text, and no other's?"""
    listed = re.findall(r"^\(?([a-z])\)\s*(.+?)\s*$", question.lower(), re.M)
    letter = truth.strip("()")
    own = next((text for name, text in listed if name == letter), None)
    if not own:
        return False
    if said == own:
        return True
    others = [text for name, text in listed if name != letter and text not in own]
    return own in said and not any(text in said for text in others)
