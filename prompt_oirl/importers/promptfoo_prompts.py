"""The templates of promptfoo's prompts: as configured, or what is left of the texts that were sent."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from prompt_oirl.importers.json_values import at, shown, text

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def configured(prompts: Sequence[Any]) -> list[str | None]:
    """Templates of `results.prompts`; of functions in one file, whose text is the file's, the labels."""
    labels: dict[str | None, set[str | None]] = defaultdict(set)
    for prompt in prompts:
        labels[text(at(prompt, "raw"))].add(text(at(prompt, "label")))
    found = []
    for prompt in prompts:
        raw, label = text(at(prompt, "raw")), text(at(prompt, "label"))
        found.append(label if len(labels[raw]) > 1 and label else raw)
    return found


def filled_in(variables: Any) -> dict[str, Any]:
    """Variables of a test with those that stand in others put in, without the tool's own."""
    if not isinstance(variables, dict):
        return {}
    own = {
        name: value for name, value in variables.items() if name != "sessionId" and not name.startswith("_")
    }

    def put_in(value: Any) -> Any:
        if not isinstance(value, str) or "{{" not in value:
            return value
        return _VARIABLE.sub(lambda found: shown(own.get(found[1])) or found[0], value)

    return {name: put_in(put_in(value)) for name, value in own.items()}


def template_of(rendered: Sequence[tuple[str, dict[str, Any]]]) -> str | None:
    """The one text that is left when the variables' values are taken out; None if there is no such.

    Parameters
    ----------
    rendered : texts that were sent with one prompt, each with its variables
    """
    texts = [raw for raw, _ in rendered]
    variables = [values for _, values in rendered]
    lengths = Counter({n: len(shown(v) or "") for values in variables for n, v in values.items()})
    for name, _ in lengths.most_common():
        taken_out = []
        for now, values in zip(texts, variables):
            value = shown(values.get(name)) or ""
            # In messages as JSON a value stands as JSON writes it.
            forms = [
                f for f in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]) if f
            ]
            form = next((form for form in forms if form in now), None)
            taken_out.append(now.replace(form, "{{" + name + "}}") if form else None)
        kept = [t for t in taken_out if t is not None]
        # What stands in all texts by chance, such as a short answer, makes them no more alike.
        if len(kept) == len(texts) and len(set(kept)) < len(set(texts)):
            texts = kept
    return texts[0] if len(set(texts)) == 1 and "{{" in texts[0] else None
