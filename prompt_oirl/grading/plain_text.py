"""What a model wrote as plain text: without reasoning, LaTeX, markdown and JSON, digits as ASCII.

All patterns are bounded or need no backtracking, so no text can make them slow.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 20_000  # the end of a longer answer is what is graded

# --- reasoning ---------------------------------------------------------------------------------------

_REASONING = re.compile(
    r"(?P<open><(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis|seed:think)>"
    r"|\[think\]|\u25c1think\u25b7|<\|channel\|>(?:analysis|commentary))"
    r"|(?P<close></(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis|seed:think)>"
    r"|\[/think\]|\u25c1/think\u25b7|<\|channel\|>final(?:<\|message\|>)?)",
    re.I,
)
# Where a chat template ends a turn; a text may begin with such tokens.
_END_OF_TURN = re.compile(r"(?:<\|[a-z_]{1,20}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\])", re.I)


def without_reasoning(text: str) -> str:
    """What follows the reasoning that a model marks with tags, as far as its turn goes; nothing where the
    reasoning never ends."""
    tags = list(_REASONING.finditer(text))
    if tags:
        text = "" if tags[-1]["open"] else text[tags[-1].end() :]
    if "<" not in text and "[" not in text:
        return text
    turns = (turn for turn in _END_OF_TURN.split(text) if turn.strip() and turn.strip() != "assistant")
    return next(turns, "").removeprefix("assistant\n")


# --- characters --------------------------------------------------------------------------------------

_VULGAR = {
    ord(c): " " + unicodedata.normalize("NFKC", c).replace("\u2044", "/") + " "
    for c in map(chr, (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189))
}
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-"
)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]{1,9}")
_NARROW_THOUSANDS = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")
_WIDE = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # scripts that put no space before digits and letters
_UNSPACED = re.compile(rf"(?<={_WIDE})(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?={_WIDE})")
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc\uff07", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2212\u2010\u2011\u2013\ufe63\uff0d", "-"),
        **dict.fromkeys("\u3002\uff0e\uff61", ". "),
        **dict.fromkeys("\u2248\u2245\u21d2\u2192", "="),
        **dict.fromkeys("\u22c5\u00b7\u2219", "\u00d7"),
        "\u066b": ".",
        "\u066c": ",",
        "\u2044": "/",
    }
)


def _ascii_characters(text: str) -> str:
    text = _NARROW_THOUSANDS.sub("", text.translate(_VULGAR))
    text = _RAISED.sub(lambda m: "^" + m[0].translate(_SUPERSCRIPTS), text)
    text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).translate(_CHARACTERS)
    text = "".join(c if c.isascii() else str(unicodedata.decimal(c, c)) for c in text)
    return _UNSPACED.sub(" ", text)


# --- LaTeX -------------------------------------------------------------------------------------------

_TEXT_COMMAND = re.compile(
    r"\\(?:text|mathrm|mathbf|mathit|mathsf|textbf|textit|textrm|emph|mbox|operatorname|underline)\s?"
    r"\{([^{}]{0,400})\}"
)
_FRACTION = re.compile(r"(\d\s?)?\\[dtc]?frac\s?(?:\{([^{}]{1,100})\}\s?\{([^{}]{1,100})\}|(\d)\s?(\d))")
_LATEX = (
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "\u00d7"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\approx(?![a-zA-Z])"), "="),
    (re.compile(r"\^?\\(?:circ|degree)(?![a-zA-Z])|\^\{\\circ\}"), " degrees"),
    (re.compile(r"\\(?:left|right|displaystyle|bigl?|bigr|Bigl?|Bigr|!)(?![a-zA-Z])"), ""),
    (re.compile(r"(?<=\d)(?:\\[,;: ]|\{,\})(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\{([,:])\}"), r"\1"),
    (re.compile(r"\\(?:quad|qquad)(?![a-zA-Z])|\\[,;: ()\[\]\\]"), " "),
    (re.compile(r"\\([%$#&_])"), r"\1"),
    (re.compile(r"\\\{"), "{ "),
    (re.compile(r"\\\}"), " }"),
    (re.compile(r"\^\s?\{([^{}]{1,20})\}"), r"^\1"),
)
MAX_BOXES = 20


def _fraction(match: re.Match[str]) -> str:
    top, bottom = match[2] or match[4], match[3] or match[5]
    simple = top.strip().isdigit() and bottom.strip().isdigit()
    ratio = f"{top.strip()}/{bottom.strip()}" if simple else f"({top})/({bottom})"
    return f"{match[1].strip()} {ratio}" if match[1] else ratio


def _unboxed(text: str) -> str:
    r"""`\boxed{...}` as an answer element."""
    parts = re.split(r"\\?\b(?:boxed|fbox)\s{0,3}\{", text)
    done = "".join(parts[:-MAX_BOXES])
    for i, part in enumerate(parts[-MAX_BOXES:]):
        if i == 0 and len(parts) <= MAX_BOXES:
            done = part
            continue
        end = _closing_brace(part)
        done += f"<answer>{part[:end]}</answer>{part[end + 1 :]}"
    return done


def _closing_brace(text: str) -> int:
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return i
    return len(text)


def _without_latex(text: str) -> str:
    for _ in range(2):  # one inside the other, as in \boxed{\text{...}}
        text = _TEXT_COMMAND.sub(r"\1", text)
    text = _FRACTION.sub(_fraction, text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return _unboxed(text)


# --- markdown, JSON and XML --------------------------------------------------------------------------

_FENCE = re.compile(r"^[ \t]{0,3}```[^\n`]{0,20}$", re.M)
_HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]{1,3}(?=[^\d\s$(+-])", re.M)
_JSON_VALUE = (
    r"""\s{0,5}:\s{0,5}(?:"((?:[^"\\]|\\.){0,2000})"|'((?:[^'\\]|\\.){0,2000})'"""
    r"""|(\[[^\]]{0,500}\]|\{[^{}]{0,500}\}|[^\s,}\n][^,}\n]{0,200}))"""
)
# The field of that name counts, the others where there is none.
_JSON_FIELDS = [
    re.compile(rf"""["'](?:{names})["']{_JSON_VALUE}""", re.I)
    for names in (
        "(?:final|correct|predicted)?[_ -]?answer(?:_letter)?",
        "(?:final|correct|predicted)?[_ -]?(?:result|solution|choice|prediction|label|option|letter|value)",
    )
]
_HTML = re.compile(r"</?(?:b|i|u|p|em|strong|span|div|br|sub|sup|code)\s?/?>", re.I)
_ELEMENT = re.compile(r"<(/?)(?:final[_ -]?answer|answer|final|result|choice)>", re.I)


def _json_field(match: re.Match[str]) -> str:
    value = next(group for group in match.groups() if group is not None)
    return f"<answer>{value}</answer>"


def plain(text: str) -> str:
    """The end of `text` without reasoning and markup; what it marks as its answer is an element <answer>.

    Currency signs are dropped, as a number is the same without them.

    Parameters
    ----------
    text : what a model wrote, of which the last 20,000 characters are read
    """
    text = without_reasoning(text)[-MAX_CHARACTERS:]
    if not text.isascii():
        text = _ascii_characters(text)
    if "\\" in text or "{,}" in text or "boxed{" in text:
        text = _without_latex(text)
    if '"' in text or "'" in text:
        field = next((field for field in _JSON_FIELDS if field.search(text)), None)
        text = field.sub(_json_field, text) if field else text
    if "<" in text:
        text = _HTML.sub(" ", _ELEMENT.sub(r"<\1answer>", text))
    if "*" in text:
        text = re.sub(r"(?<=\d)\s?\*\*\s?(?=\d)", "^", text).replace("**", "")
    if "~~" in text:
        text = re.sub(r"~~[^~]{0,400}~~", " ", text)
    if "`" in text:
        text = _FENCE.sub("", text).replace("`", "")
    if "#" in text:
        text = _HEADING.sub("", text)
    text = re.sub(r"(?<=\d)_(?=\d{3}(?!\d))", "", text.replace("__", ""))
    text = re.sub(r"(?<!\w)(?:Rs|USD|EUR|GBP|INR|US\$)\.?\s{0,2}(?=[-\d])", "", text)
    text = re.sub(r"-\s?[$\u20ac\u00a3\u00a5\u20b9]\s?(?=[\d.])", "-", text)
    return re.sub(r" {2,}", " ", re.sub(r"[$\u20ac\u00a3\u00a5\u20b9\u20a9]", " ", text))
