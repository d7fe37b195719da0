"""One self-contained HTML page of a run on the user's own log: verdict, tables, figures, every question.

The page opens from disk, loads nothing and runs one script of ours. Text from users and models reaches it by
two ways only: escaped by `page_text.escaped` into markup, or as JSON whose `<`, `>` and `&` are written as
\\u escapes and which the script shows by `textContent`. A Content-Security-Policy with the hashes of our
style and script refuses anything else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from prompt_oirl import __version__
from prompt_oirl.io.files import write_text
from prompt_oirl.reports.page_charts import (
    PROMPTS_SHOWN,
    calibration_chart,
    coverage_chart,
    figure,
    folded,
    learning_chart,
    prompt_chart,
    prompt_names,
    variance_chart,
    votes_chart,
    wide,
)
from prompt_oirl.reports.page_text import (
    LONGEST,
    LONGEST_NAME,
    SHORTEST,
    escaped,
    number_shown,
    one_line,
    points_gained,
    rate,
    shown,
)
from prompt_oirl.reports.svg import interval_rows
from prompt_oirl.selection.evaluation_tables import Evaluation

TEXT_BUDGET = 20_000_000  # characters of questions on one page, about what a phone can hold


@dataclass(frozen=True)
class Report:
    """What a page shows. `tone` colours the verdict: good, bad or open.

    `variance` rows: component, share; `learning` and `votes` rows: see `page_charts`. What is None
    is left out.
    """

    title: str
    verdict: str
    tone: str
    sentences: Sequence[str]
    evaluation: Evaluation
    warnings: Sequence[str] = ()
    variance: Sequence[tuple[str, float]] | None = None
    variance_note: str = ""
    learning: Sequence[dict[str, Any]] | None = None
    votes: Sequence[dict[str, Any]] | None = None
    votes_note: str = ""
    footer: str = (
        f"Made by prompt-oirl {__version__}. Nothing on this page was loaded from or sent to anywhere."
    )


def write_page(path: Path, report: Report) -> None:
    """Write the page of `report`, whole or not at all."""
    write_text(path, page(report))


def page(report: Report) -> str:
    """The page as one string."""
    folder = files("prompt_oirl.reports") / "page"
    style, script, skeleton = ((folder / f"page.{kind}").read_text("utf-8") for kind in ("css", "js", "html"))
    return Template(skeleton).substitute(
        title=escaped(report.title, 200),
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        body=_body(report),
        data=_json(_data(report.evaluation)),
        footer=escaped(report.footer),
    )


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that cannot end its script element, whatever stands in its strings."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(evaluation: Evaluation) -> dict[str, Any]:
    """prompts: names, whole and short; questions: text, pick, best, scores, successes, answers each."""
    log = evaluation.log
    longest = int(min(LONGEST, max(SHORTEST, TEXT_BUDGET / len(log.questions))))
    scores = evaluation.probabilities.astype(float).round(3).tolist()
    labels = [
        [None if math.isnan(v) else round(v, 3) for v in row] for row in log.labels.astype(float).tolist()
    ]
    counts = log.counts.astype(int).tolist()
    return {
        "prompts": [
            {"name": one_line(name, LONGEST_NAME), "short": one_line(name)}
            for name in prompt_names(evaluation)
        ],
        "questions": [
            [shown(text, longest), int(pick), int(best), s, y, c]
            for text, pick, best, s, y, c in zip(
                log.questions, evaluation.picks[0], evaluation.best[0], scores, labels, counts
            )
        ],
    }


def _body(report: Report) -> str:
    evaluation = report.evaluation
    sections = [_verdict(report), _facts(evaluation), _warnings(report.warnings), _worth(evaluation)]
    charts = [
        votes_chart(report.votes, report.votes_note),
        prompt_chart(evaluation),
        calibration_chart(evaluation),
        coverage_chart(evaluation),
        variance_chart(report.variance, report.variance_note),
        learning_chart(report.learning),
    ]
    sections.append(f'<section><h2>Figures</h2><div class="charts">{"".join(charts)}</div></section>')
    sections.append(_prompt_texts(evaluation))
    return "\n".join(filter(None, sections))


def _verdict(report: Report) -> str:
    tone = report.tone if report.tone in ("good", "bad", "open") else "open"
    lines = "".join(f"<p>{escaped(sentence)}</p>" for sentence in report.sentences)
    word = f'<p class="word">{escaped(report.verdict)}</p>'
    return f'<section class="verdict {tone}" aria-label="Verdict">{word}{lines}</section>'


def _facts(evaluation: Evaluation) -> str:
    log = evaluation.log
    entries = [
        ("Questions", f"{len(log.questions):,}"),
        ("Question groups", f"{len(np.unique(log.groups)):,}"),
        ("Prompts", f"{len(log.prompts):,}"),
        ("Answers", f"{len(log.correct):,}"),
        ("Cells logged", f"{100 * (log.counts > 0).mean():.0f} %"),
        ("Right answers", f"{100 * log.correct.mean():.1f} %"),
    ]
    return f'<dl class="facts">{"".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in entries)}</dl>'


def _warnings(warnings: Sequence[str]) -> str:
    return (
        f'<ul class="warnings">{"".join(f"<li>{escaped(w)}</li>" for w in warnings)}</ul>' if warnings else ""
    )


def _worth(evaluation: Evaluation) -> str:
    rows = evaluation.policies
    costs = any(r["cost"] is not None and math.isfinite(r["cost"]) and r["cost"] > 0 for r in rows)
    names = dict(
        zip((f"always {n}" for n in evaluation.log.names), (f"always {n}" for n in prompt_names(evaluation)))
    )
    alone = sorted((r for r in rows if r["policy"] in names), key=lambda r: -r["success"])
    left_out = {r["policy"] for r in alone[PROMPTS_SHOWN:]}
    lines: list[str] = []
    more: list[str] = []
    for row in rows:
        gain = (
            ""
            if row["policy"] == "best prompt"
            else points_gained(row["gain"], row["gain_low"], row["gain_high"])
        )
        success = rate(row["success"], row["success_low"], row["success_high"])
        cells = [
            f"<td><bdi>{escape(one_line(names.get(row['policy'], row['policy']), 90))}</bdi></td>",
            f'<td class="number" data-label="right">{success}</td>',
            f'<td class="number"{" data-label=gain" if gain else ""}>{gain}</td>',
            f'<td class="number extra">{row["n"]:,}</td>',
        ]
        if costs:
            cells.append(f'<td class="number extra">{number_shown(row["cost"])}</td>')
        (more if row["policy"] in left_out else lines).append(
            f"<tr{' class=strong' if row['policy'] == 'selector' else ''}>{''.join(cells)}</tr>"
        )
    extra = '<th scope="col" class="number">Cost per question</th>' if costs else ""
    chart = interval_rows(
        "Gain over the best single prompt with 95 % intervals",
        [
            (one_line(names.get(r["policy"], r["policy"])), r["gain"], r["gain_low"], r["gain_high"])
            for r in rows
            if r["policy"] in ("selector", "random prompt")
        ],
        points=True,
        mark=0,
    )
    head = f"""<thead><tr><th scope="col">Choice</th><th scope="col" class="number">Right answers [95 %]</th>
<th scope="col" class="number">Gain, points [95 %]</th>
<th scope="col" class="number">Questions</th>{extra}</tr></thead>"""

    def table(label: str, lines: list[str]) -> str:
        return wide(label, f'<table class="worth">{head}<tbody>{"".join(lines)}</tbody></table>')

    rest = folded(f"The other {len(more)} prompts", table("Table of the other prompts", more)) if more else ""
    hint = "The interval that matters: does it leave zero behind?"
    gain_chart = figure("Gain over the best single prompt, points", chart, hint)
    return f"""<section><h2>What each choice is worth</h2>
<p class="hint">On questions the selector has not seen. Brackets are 95 % intervals over groups of
near-duplicate questions; gains are in points of success over the prompt that was best on the training part.
Where the picked answer is not in the log, the doubly robust estimate stands in. All of this is measured; the
verdict's gain also leans on the reward model, as far as the two agree, and is therefore a little surer.</p>
{table("Table of choices", lines)}
{rest}
<div class="charts">{gain_chart}</div></section>"""


def _prompt_texts(evaluation: Evaluation) -> str:
    items = "".join(
        f"<tr><td><bdi>{escape(one_line(name))}</bdi></td>"
        f'<td dir="auto">{escaped(text) or "(no prompt)"}</td></tr>'
        for name, text in zip(evaluation.log.names, evaluation.log.prompts)
    )
    return folded("The prompts in full", wide("Prompts", f"<table><tbody>{items}</tbody></table>"))
