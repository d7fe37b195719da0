"""The charts of the report page, each with its numbers folded away below it; markup as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from prompt_oirl.reports.page_text import LONGEST_NAME, escaped, number_shown, one_line, shown
from prompt_oirl.reports.svg import Line, interval_rows, line_chart, stacked_bar
from prompt_oirl.selection.evaluation_tables import Evaluation

PROMPTS_SHOWN = 16  # in tables and charts; the others are folded away


def prompt_names(evaluation: Evaluation) -> list[str]:
    """The name of each prompt and its text, as far as they differ."""
    return [
        name if name == text else f"{name}: {' '.join(text.split()) or '(no prompt)'}"
        for name, text in zip(evaluation.log.names, evaluation.log.prompts)
    ]


def figure(title: str, content: str, caption: str) -> str:
    """A titled figure, as markup.

    Parameters
    ----------
    title, caption : plain text; it is escaped
    content : markup, taken as it is
    """
    return f"<figure><h3>{escape(title)}</h3>{content}<figcaption>{escaped(caption)}</figcaption></figure>"


def number_table(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> str:
    """The numbers behind a chart, folded away; `columns`: keys of the rows, by default all."""
    columns = columns or list(rows[0])
    head = "".join(f'<th scope="col">{escape(c.replace("_", " "))}</th>' for c in columns)
    lines = []
    for row in rows:
        values = [row[c] for c in columns]
        cells = [escaped(v, LONGEST_NAME) if isinstance(v, str) else number_shown(v) for v in values]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return folded("Numbers", wide("Numbers", table))


def folded(summary: str, content: str) -> str:
    """Markup that a reader unfolds by its summary."""
    return f"<details><summary>{summary}</summary>{content}</details>"


def wide(label: str, content: str) -> str:
    """Markup that may be wider than the screen: it scrolls in a region of its own."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}">{content}</div>'


def votes_chart(votes: Sequence[dict[str, Any]] | None, note: str) -> str:
    """Curves of success against calls.

    Parameters
    ----------
    votes : rows of policy, calls (mean per question), success, low, high; nothing is drawn without
    note : caption; without one, what the curves are
    """
    if not votes:
        return ""
    lines = []
    for name in dict.fromkeys(r["policy"] for r in votes):
        points = sorted((r["calls"], r["success"], r["low"], r["high"]) for r in votes if r["policy"] == name)
        lines.append(Line(shown(name, LONGEST_NAME), points))
    chart = line_chart("Success against calls per question", lines, "calls per question", "right answers")
    table = number_table(votes)
    return figure(
        "Several answers and a vote",
        chart + table,
        note or "Success of a vote against the mean number of calls it pays for.",
    )


def prompt_chart(evaluation: Evaluation) -> str:
    """Success of the best prompts, each asked alone, with intervals."""
    names = dict(zip((f"always {n}" for n in evaluation.log.names), prompt_names(evaluation)))
    rows = [
        (one_line(names[r["policy"]]), r["success"], r["success_low"], r["success_high"])
        for r in evaluation.policies
        if r["policy"] in names
    ]
    rows = sorted(rows, key=lambda row: -row[1])[:PROMPTS_SHOWN]
    more = f" The best {PROMPTS_SHOWN} of {len(names)}." if len(names) > PROMPTS_SHOWN else ""
    return figure(
        "Success of each prompt",
        interval_rows("Success of each prompt", rows, mark=0),
        f"With 95 % intervals.{more}",
    )


def calibration_chart(evaluation: Evaluation) -> str:
    """Predicted against observed success."""
    points = [(r["predicted"], r["success"], math.nan, math.nan) for r in evaluation.calibration]
    chart = line_chart(
        "Reliability curve",
        [Line("predicted against observed", points)],
        "predicted probability",
        "right answers",
        square=True,
    )
    error = evaluation.measures["expected_calibration_error"]
    caption = "Predictions in bins of equal size; on the dashed line they are true. "
    caption += f"Expected calibration error {error:.3f}."
    return figure(
        "Are the probabilities true?",
        chart + number_table(evaluation.calibration),
        caption,
    )


def coverage_chart(evaluation: Evaluation) -> str:
    """Success against the share of questions that is answered, surest first."""
    points = [(r["coverage"], r["success"], r["success_low"], r["success_high"]) for r in evaluation.coverage]
    chart = line_chart(
        "Success against coverage",
        [Line("kept questions", points)],
        "share of questions answered",
        "right answers",
        x_percent=True,
    )
    table = number_table(evaluation.coverage)
    return figure(
        "Abstaining where it is unsure",
        chart + table,
        "Success on the questions whose predicted probability is highest; the threshold of each share is in "
        "the numbers.",
    )


def variance_chart(shares: Sequence[tuple[str, float]] | None, note: str) -> str:
    """A bar of (component, share of the variance), `note` below it; nothing is drawn without shares."""
    if not shares:
        return ""
    chart = stacked_bar("Variance of correctness by source", [(shown(name), share) for name, share in shares])
    return figure("Where right and wrong come from", chart, note)


def learning_chart(learning: Sequence[dict[str, Any]] | None) -> str:
    """Gain against log size, from rows of questions, gain, low, high (success); nothing is drawn without."""
    if not learning:
        return ""
    points = [(r["questions"], r["gain"], r["low"], r["high"]) for r in learning]
    chart = line_chart(
        "Gain against logged questions", [Line("gain", points)], "logged questions", "gain over best prompt"
    )
    return figure(
        "Would more questions help?",
        chart + number_table(learning, ["questions", "gain", "low", "high"]),
        "Gain over the best prompt when learning from a part of the log.",
    )
