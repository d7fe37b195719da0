"""Charts as inline SVG: static, styled by the page's CSS, readable without a script, light and dark.

Every label is escaped here; numbers are fractions and shown as percentages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 10, 40
FLAT = 1e-6  # values that differ by less are drawn as one


@dataclass(frozen=True)
class Line:
    """One curve: points (x, y, low, high); low and high may be NaN. `dashed` marks a reference."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    dashed: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    square: bool = False,
    x_percent: bool = False,
) -> str:
    """Draw curves with their intervals as bands; nothing where there is no point.

    Parameters
    ----------
    title : what a screen reader says
    square : both axes from 0 to 1, with the diagonal of perfect agreement
    x_percent : x holds fractions
    """
    ys = [v for line in lines for p in line.points for v in p[1:] if math.isfinite(v)]
    xs = [p[0] for line in lines for p in line.points]
    if not xs:
        return ""
    low, high = (0.0, 1.0) if square else _span(min(ys), max(ys))
    x_low, x_high = (0.0, 1.0) if square else (min(xs), max(xs))
    x_high = x_high if x_high > x_low + FLAT else x_low + 1

    def x(value: float) -> float:
        return LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    ticks = _ticks(low, high)
    for tick, text in zip(ticks, tick_labels(ticks, percent=True)):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(_text("tick", f"{LEFT - 6}", f"{y(tick) + 4:.1f}", f"{text} %", anchor="end"))
    fractions = x_percent or square
    x_ticks = [tick for tick in _ticks(x_low, x_high, 6 if fractions else 8) if x_low <= tick <= x_high]
    whole = [tick for tick in x_ticks if tick == round(tick)]
    if not fractions and len(whole) > 1:  # counts
        x_ticks = whole
    for tick, text in zip(x_ticks, tick_labels(x_ticks, percent=fractions)):
        unit = " %" if fractions else ""
        parts.append(_text("tick", f"{x(tick):.1f}", f"{HEIGHT - BOTTOM + 16}", text + unit))
    if square:
        parts.append(
            f'<line class="reference" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>'
        )
    for i, line in enumerate(lines):
        band = [p for p in line.points if math.isfinite(p[2]) and math.isfinite(p[3])]
        if len(band) > 1 and not line.dashed:
            edge = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in band] + [
                f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(band)
            ]
            parts.append(f'<polygon class="band c{i}" points="{" ".join(edge)}"/>')
    for i, line in enumerate(lines):
        path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in line.points)
        parts.append(f'<polyline class="line c{i}{" dashed" if line.dashed else ""}" points="{path}"/>')
        if not line.dashed:
            parts += [
                f'<circle class="dot c{i}" cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="3"/>' for p in line.points
            ]
    parts.append(_text("axis", f"{(LEFT + WIDTH - RIGHT) / 2}", f"{HEIGHT - 6}", escape(x_label)))
    parts.append(
        f'<text class="axis" transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    legend = "".join(
        f'<li><span class="key c{i}{" dashed" if line.dashed else ""}"></span>{escape(line.label)}</li>'
        for i, line in enumerate(lines)
    )
    return _svg(title, HEIGHT, parts) + (f'<ul class="legend">{legend}</ul>' if len(lines) > 1 else "")


def interval_rows(
    title: str, rows: Sequence[tuple[str, float, float, float]], *, points: bool = False, mark: int = -1
) -> str:
    """Draw one row per label with a dot and its interval.

    Parameters
    ----------
    title : what a screen reader says
    rows : label, value, low, high; low and high may be NaN
    points : the values are gains: zero is on the axis, and ticks are in points
    mark : the row to highlight; -1 for none
    """
    row_height, top = 34, 6
    height = top + row_height * len(rows) + 24
    values = [v for row in rows for v in row[1:] if math.isfinite(v)] + ([0.0] if points else [])
    low, high = _span(min(values), max(values))

    def x(value: float) -> float:
        return 8 + (value - low) / (high - low) * (WIDTH - 16)

    parts = []
    ticks = _ticks(low, high)
    for tick, text in zip(ticks, tick_labels(ticks, percent=True, signed=points)):
        css = "zero" if points and tick == 0 else "grid"
        parts.append(
            f'<line class="{css}" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{height - 20}"/>'
        )
        unit = "" if points else " %"
        parts.append(_text("tick", f"{min(max(x(tick), 14), WIDTH - 16):.1f}", f"{height - 5}", text + unit))
    for i, (label, value, a, b) in enumerate(rows):
        y = top + row_height * i + 24
        css = "c0" if i == mark else "c4"
        parts.append(
            f'<text class="name{" strong" if i == mark else ""}" x="8" y="{y - 9}">{escape(label)}</text>'
        )
        if math.isfinite(a) and math.isfinite(b):
            parts.append(f'<line class="range {css}" x1="{x(a):.1f}" x2="{x(b):.1f}" y1="{y}" y2="{y}"/>')
        if math.isfinite(value):
            parts.append(f'<circle class="dot {css}" cx="{x(value):.1f}" cy="{y}" r="4.5"/>')
    return _svg(title, height, parts)


def stacked_bar(title: str, shares: Sequence[tuple[str, float]]) -> str:
    """Shares of a whole as one bar with a legend."""
    shares = [(label, max(value, 0.0)) for label, value in shares]
    total = sum(value for _, value in shares) or 1.0
    at, parts = 0.0, []
    for i, (_, value) in enumerate(shares):
        width = value / total * WIDTH
        parts.append(
            f'<rect class="fill c{i}" x="{at:.1f}" y="4" width="{max(width - 1, 0):.1f}" height="40"/>'
        )
        at += width
    legend = "".join(
        f'<li><span class="key box c{i}"></span>{escape(label)} <b>{100 * value / total:.1f} %</b></li>'
        for i, (label, value) in enumerate(shares)
    )
    return _svg(title, 50, parts) + f'<ul class="legend column">{legend}</ul>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    frame = f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}"'
    return f"<svg {frame}>{''.join(parts)}</svg>"


def _text(css: str, x: str, y: str, content: str, *, anchor: str = "middle") -> str:
    return f'<text class="{css}" x="{x}" y="{y}" text-anchor="{anchor}">{content}</text>'


def _span(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) if high - low > FLAT else 0.05
    return low - margin, high + margin


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / 2))
    for factor in (1, 2, 5, 10, 20):
        if (high - low) / (step * factor) <= most:
            step *= factor
            break
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_labels(ticks: Sequence[float], *, percent: bool, signed: bool = False) -> list[str]:
    """The ticks of one axis as numbers with as few decimals as tell them apart; zero has no sign.

    Parameters
    ----------
    ticks : rising, evenly spaced
    percent : times 100
    signed : write "+" before positive ones
    """
    scale = 100 if percent else 1
    gap = scale * min((b - a for a, b in zip(ticks, ticks[1:])), default=1.0)
    digits = 0
    while digits < 12 and any(abs(round(scale * t, digits) - scale * t) > 0.01 * gap for t in ticks):
        digits += 1
    return [f"{scale * t:{'+' if signed and t else ''}z,.{digits}f}" for t in ticks]
