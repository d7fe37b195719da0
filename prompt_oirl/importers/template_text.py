"""Templates of all tools in one spelling: a prompt is the same one whichever tool asked with it."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from prompt_oirl.importers.messages import question_and_prompt
from prompt_oirl.importers.skeletons import PLACE

_VARIABLE = re.compile(r"\{\{-?\s*(?:doc\.)?([A-Za-z_]\w*)\s*(?:\|\s*trim\s*)?-?\}\}")


@lru_cache(4096)
def template_text(prompt: str) -> str:
    """A prompt with `PLACE` for its only variable; "" if nothing else is in it.

    Chat messages as JSON become text: system messages and earlier turns, then what the last user message says
    around the question. A template of several variables keeps their names.

    Parameters
    ----------
    prompt : a template of lm-eval or promptfoo, a prompt of other tools, which stays as it is
    """
    before, text = _apart(prompt)
    names = set(_VARIABLE.findall(text))
    if len(names) == 1 and not re.search(r"\{\{|\{%", _VARIABLE.sub("", text)):
        text = _VARIABLE.sub(lambda _: PLACE, text)
    return "\n\n".join(part for part in (before, "" if text == PLACE else text) if part)


def _apart(prompt: str) -> tuple[str, str]:
    """What stands before the last user message, and that message; a text is all message."""
    if not prompt.lstrip().startswith("[") or '"role"' not in prompt:
        return "", prompt
    try:
        both = question_and_prompt(json.loads(prompt))
    except (ValueError, RecursionError):
        both = None
    return (both[1] or "", both[0]) if both else ("", prompt)
