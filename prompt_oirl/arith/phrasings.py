"""Prompts as style features: several hundred ways to ask for one of seven styles, the published sixteen among
them.

A phrasing is put together from the clauses of its style's pattern. Sixty are kept out of the language model's
training; a few vague ones ask for either of two styles.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prompt_oirl.data.prompts import Prompt, load_prompts, prompt_id
from prompt_oirl.io.files import write_csv

PER_STYLE = 60  # phrasings drawn for each style, held-out ones included
UNSEEN_PER_STYLE = 8


@dataclass(frozen=True)
class Style:
    """What an answer shows, and the clauses that ask for it; a pattern names these in order, then an end."""

    name: str
    steps: bool  # equations are written down
    split: bool  # sub-questions are listed first
    voices: int  # how many people work on it
    check: bool  # every result is tried backwards
    persona: bool  # the answer speaks as somebody
    patterns: tuple[str, ...]
    clauses: dict[str, tuple[str, ...]]


WE = ("Let's", "Let us", "We should", "Please", "Now", "Kindly", "You should", "I want you to")
WORK = ("think", "work", "reason", "go on", "solve this", "proceed", "answer", "calculate")
ENDINGS = (".", ":", "", "!")
TASK = ("the question", "the problem", "this task", "the exercise", "this puzzle", "the story")
STYLES = (
    Style("direct", False, False, 0, False, False,
        ("{say} {what}{end}", "{what_only}{end}", "{without}, {say_low} {what}{end}"), {
        "say": ("Give", "State", "Write", "Tell me", "Return", "Print", "Output", "Name"),
        "say_low": ("give", "state", "write", "return", "print", "name"),
        "what": ("only the number", "just the final number", "the result and nothing else",
                 "the bare answer", "the answer at once",
                 "one number", "the final value directly", "a short answer", "the solution as a number"),
        "what_only": ("The result is", "Answer", "Final answer", "Short answer, please", "Quick reply",
                      "In one word", "Just the number",
                      "Result only", "So the number is"),
        "without": ("Without explanation", "With no working shown", "Skipping all detail",
                    "In no more than a word", "Immediately"),
    }),
    Style("chain", True, False, 0, False, False,
        ("{we} {work} {manner}{end}", "{we} {work} {manner} and {close}{end}",
        "{manner_up}, {work} through {task}{end}"), {
        "we": WE,
        "work": WORK,
        "manner": ("step by step", "one step at a time", "in small steps", "line by line", "in order",
                   "slowly, step after step",
                   "logically", "from start to end", "stage by stage", "with clear reasoning"),
        "manner_up": ("Step by step", "One step at a time", "In logical order", "Line by line",
                      "From the first fact to the last"),
        "task": TASK,
        "close": ("show each step", "write the steps down", "explain the reasoning", "then conclude",
                  "reach the answer"),
    }),
    Style("check", True, False, 0, True, False,
        ("{we} {work} {care} {sure}{end}", "{we} {verify}{end}", "{care_up}: {verify}{end}"), {
        "we": WE,
        "work": ("work this out", "solve it", "do the sums", "calculate", "find the answer",
                 "compute everything"),
        "care": ("carefully", "with great care", "in a careful way", "accurately", "in a safe way",
                 "precisely"),
        "care_up": ("Be careful", "Take care", "Accuracy matters", "No mistakes", "Be precise"),
        "sure": ("to be sure it is right", "and check every result", "and verify each number",
                 "to be certain of the answer",
                 "and prove every calculation", "so that no mistake is left", "and test it backwards"),
        "verify": ("double-check each calculation", "verify every result by the reverse sum",
                   "confirm all numbers before answering",
                   "check the work twice", "make sure that each result is correct",
                   "test every number backwards",
                   "validate all calculations"),
    }),
    Style("panel", True, False, 3, False, False,
        ("{n} {who} {talk}{goal}{end}", "{scene} {n_low} {who} who {talk}{end}",
        "A group of {who} {talk_one}{goal}{end}"), {
        "n": ("3", "Three", "Three different", "Some"),
        "n_low": ("three", "3", "several"),
        "who": ("experts", "mathematicians", "scholars", "philosophers", "professors", "accountants",
                "engineers", "colleagues",
                "students", "scientists", "specialists"),
        "talk": ("discuss the question", "debate this", "compare their solutions",
                 "talk the problem over", "argue about the answer",
                 "are discussing the task", "exchange their views", "each give a full solution"),
        "talk_one": ("discusses the question", "debates this", "compares solutions",
                     "talks the problem over", "votes on the answer"),
        "goal": ("", " until they agree", " and make sure the result is correct", ", then they vote",
                 " to find a common answer"),
        "scene": ("Follow the discussion of", "Listen to", "Picture a debate of",
                  "Write the conversation of"),
    }),
    Style("tree", True, False, 3, True, False,
        ("{scene} {who} {turn}{leave}{end}", "{who_up} {turn}{leave}{end}",
        "{round}: {who} {turn}{leave}{end}"), {
        "scene": ("Imagine that", "Suppose", "Picture this:", "Envision how", "Assume that"),
        "who": ("different experts", "three thinkers", "the members of a team", "all participants",
                "three problem solvers",
                "some analysts", "the people at a table"),
        "who_up": ("All experts", "Three thinkers", "The team members", "The participants",
                   "Several solvers"),
        "turn": ("write down 1 step each and share it with the group", "take turns, one step per round",
                 "each suggest the next step, then compare",
                 "add one step at a time and show it to the others",
                 "go through the steps together, round by round", "share every step before the next one"),
        "leave": ("", "; whoever is wrong leaves", ", and any who errs drops out",
                  "; those with a mistake leave",
                  ". If someone is wrong at any point then they leave"),
        "round": ("In rounds", "As a meeting", "Round table", "As teamwork"),
    }),
    Style("parts", True, True, 0, False, False,
        ("{we} {cut} {task} into {pieces}{then}{end}", "{first} {cut} it into {pieces}{then}{end}",
         "{which} {pieces} does {task} have? {then_up}{end}"), {
        "we": WE,
        "cut": ("split", "break", "divide", "decompose", "break down", "cut", "separate"),
        "task": TASK,
        "pieces": ("sub-questions", "smaller questions", "parts", "manageable pieces", "sub-problems",
                   "simple components", "layers",
                   "building blocks"),
        "then": ("", " and solve each", ", then answer one after the other",
                 " and put the pieces together", " before solving"),
        "first": ("First,", "To begin,", "At first", "Before anything else,"),
        "which": ("Which", "What"),
        "then_up": ("List them, then solve each", "Answer them one by one", "Solve piece by piece"),
    }),
    Style("role", True, False, 1, False, True,
        ("{be} a {job}{does}{end}", "{how} a {job} would {act}{end}", "{be} a {job}. {note}{end}"), {
        "be": ("You are", "Act as", "Imagine you are", "Play the role of", "Speak as", "Pretend to be", "Be"),
        "job": ("teacher", "detective", "cashier", "farmer", "pilot", "nurse", "chef", "banker",
                "builder", "captain", "guide", "judge"),
        "does": ("", " who solves this", " and answer", " with a good eye for numbers", " at work",
                 " and find the solution"),
        "how": ("Solve this like", "Answer as", "Handle it the way", "Do it just like"),
        "act": ("do it", "solve it", "handle it", "look at it", "answer it"),
        "note": ("Note the facts", "Gather the numbers", "Write down what is known", "Look at the clues"),
    }),
)  # fmt: skip
BY_NAME = {style.name: style for style in STYLES}

# The style each published prompt asks for.
PUBLISHED_STYLES = {
    "nan": "direct", "CoT": "chain", "APE": "check", "Dis": "panel", "ToT": "tree", "Decomp": "parts",
    "gpt4_0": "chain", "gpt4_1": "parts", "gpt4_2": "parts", "gpt4_3": "panel", "gpt4_4": "role",
    "gpt4_5": "chain", "gpt4_6": "tree", "gpt4_7": "role", "gpt4_8": "parts", "gpt4_9": "panel",
}  # fmt: skip

# Prompts that say little: either of two styles answers them.
VAGUE = (
    ("Solve:", ("direct", "chain")),
    ("Please help.", ("direct", "role")),
    ("What do you think?", ("chain", "panel")),
    ("I need this for my homework.", ("chain", "parts")),
    ("Take a deep breath.", ("chain", "check")),
    ("Do your best!", ("direct", "check")),
    ("Explain it to me.", ("chain", "role")),
    ("Use paper and pencil.", ("parts", "check")),
    ("Let's do this together.", ("panel", "tree")),
    ("Start now.", ("direct", "parts")),
    ("Ready?", ("direct", "tree")),
    ("Show your work.", ("chain", "check")),
)
UNSEEN_VAGUE = 4  # the last so many are kept out of training


@dataclass(frozen=True)
class Phrasing:
    """A prompt and the style, or the two styles, that it asks for. `unseen` ones never enter training."""

    prompt: Prompt
    styles: tuple[str, ...]
    unseen: bool = False


def fill(style: Style, rng: random.Random) -> str:
    """One text of a style: a pattern with a clause in each of its places."""
    return rng.choice(style.patterns).format(
        **{name: rng.choice(options) for name, options in style.clauses.items()}, end=rng.choice(ENDINGS)
    )


def _drawn(style: Style) -> list[Phrasing]:
    rng = random.Random(f"phrasings/{style.name}")
    texts: dict[str, None] = {}
    while len(texts) < PER_STYLE:
        texts.setdefault(fill(style, rng))
    return [
        Phrasing(_prompt(text, unseen := i < UNSEEN_PER_STYLE), (style.name,), unseen)
        for i, text in enumerate(texts)
    ]


def _prompt(text: str, unseen: bool) -> Prompt:
    prefix, role = ("u_", "unseen") if unseen else ("p_", "train")
    return Prompt(prefix + prompt_id(text), text, "after", role)


@cache
def all_phrasings() -> tuple[Phrasing, ...]:
    """The published sixteen, then the drawn ones of each style, then the vague ones."""
    published = [Phrasing(prompt, (PUBLISHED_STYLES[prompt.id],)) for prompt in load_prompts()]
    drawn = [phrasing for style in STYLES for phrasing in _drawn(style)]
    vague = [
        Phrasing(_prompt(text, unseen := i >= len(VAGUE) - UNSEEN_VAGUE), styles, unseen)
        for i, (text, styles) in enumerate(VAGUE)
    ]
    return (*published, *drawn, *vague)


@cache
def trained_prompts(style: str) -> tuple[Prompt, ...]:
    """Prompts of a style that training may show."""
    return tuple(p.prompt for p in all_phrasings() if style in p.styles and not p.unseen)


def write_prompts(path: Path) -> list[Prompt]:
    """Write the published sixteen and the unseen phrasings as a prompt table."""
    prompts = [p.prompt for p in all_phrasings() if p.unseen or p.prompt.id in PUBLISHED_STYLES]
    rows = [{"prompt_id": p.id, "role": p.role, "position": p.position, "text": p.text} for p in prompts]
    write_csv(path, rows)
    return prompts
