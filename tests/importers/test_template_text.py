"""One spelling of templates for all tools."""

from __future__ import annotations

import json

import pytest

from prompt_oirl.importers.template_text import template_text


def chat(*turns: tuple[str, str]) -> str:
    return json.dumps([{"role": role, "content": said} for role, said in turns])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Q: {{question}}\nA:", "Q: {question}\nA:"),
        ("Q: {{ doc.question | trim }} Again: {{doc.question|trim}}", "Q: {question} Again: {question}"),
        ("{{passage}}\n{{question}}", "{{passage}}\n{{question}}"),  # several: their names stay
        ("{% if x %}{{q}}{% endif %}", "{% if x %}{{q}}{% endif %}"),
        ("{{q|upper}} {{q}}", "{{q|upper}} {{q}}"),
        ("{{question}}", ""),  # asked bare
        ("{question}", ""),
        ("Think. {question}", "Think. {question}"),
        ("Let's think.", "Let's think."),
        (chat(("system", "Be brief."), ("user", "{{q}}")), "Be brief."),
        (chat(("system", "Be brief."), ("user", "Q: {{q}}")), "Be brief.\n\nQ: {question}"),
        (chat(("user", "{{q}}")), ""),
        ('[{"role": "system"', '[{"role": "system"'),
        ("[1] Answer.", "[1] Answer."),
    ],
)
def test_templates(prompt: str, expected: str) -> None:
    assert template_text(prompt) == expected
    assert template_text(expected) == expected
