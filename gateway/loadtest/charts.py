"""Line and bar charts as inline SVG; pure. Colours are CSS variables, so a page can be light or dark."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 28
TICKS = 5
LEAST = 1e-6
"""Where a logarithmic scale ends; in seconds, a microsecond."""

Number = float | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `colour` is the number of a CSS variable, a None breaks the line."""

    name: str
    colour: int
    values: Sequence[Number]


def chart(
    times: Sequence[float],
    lines: Sequence[Line],
    label: Callable[[float], str],
    *,
    log: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over time in seconds, "" where there is nothing to show. `marks` are moments with a text."""
    values = [value for line in lines for value in line.values if value is not None]
    if not times or not values:
        return ""
    scale = _Scale(times, values, log=log)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(_names(lines))}">']
    parts += [_grid(scale.y(tick), label(tick)) for tick in scale.ticks()]
    parts += [_second(scale.x(tick), f"{tick:g} s") for tick in scale.seconds()]
    parts += [_mark(scale.x(at), text) for at, text in marks]
    parts += [_line(scale, times, line, label) for line in lines]
    return "".join([*parts, "</svg>"])


def legend(lines: Sequence[Line]) -> str:
    """What the colours are."""
    return "".join(
        f'<span class="key"><i style="background:var(--c{line.colour})"></i>{html.escape(line.name)}</span>'
        for line in lines
    )


def bars(rows: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars with their numbers, longest first."""
    most = max(count for _, count in rows)
    parts = []
    for number, (name, count) in enumerate(rows):
        y = 6 + number * 26
        width = max(2.0, 300 * count / most)
        parts.append(
            f'<text x="330" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="340" y="{y + 2}" width="{width:.1f}" height="16" rx="3" class="bad"/>'
            f'<text x="{348 + width:.1f}" y="{y + 14}">{count:,}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {12 + 26 * len(rows)}" role="img">{"".join(parts)}</svg>'


class _Scale:
    def __init__(self, times: Sequence[float], values: Sequence[float], *, log: bool) -> None:
        self._first, self._last = min(times), max(max(times), min(times) + 1)
        self._log = log
        if log:
            self._low = 10.0 ** math.floor(math.log10(max(min(values), LEAST)))
            self._high = 10.0 ** math.ceil(math.log10(max(*values, LEAST)) + 1e-9)
            self._high = max(self._high, self._low * 10)
        else:
            self._step = _nice(max(max(values), 1) / (TICKS - 1))
            self._low, self._high = 0.0, self._step * math.ceil(max(max(values), 1) / self._step)

    def x(self, at: float) -> float:
        return LEFT + (at - self._first) / (self._last - self._first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        if self._log:
            share = math.log(max(value, self._low) / self._low) / math.log(self._high / self._low)
        else:
            share = value / self._high
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[float]:
        if self._log:
            return [self._low * 10**power for power in range(round(math.log10(self._high / self._low)) + 1)]
        return [self._step * number for number in range(round(self._high / self._step) + 1)]

    def seconds(self) -> list[float]:
        step = _nice((self._last - self._first) / 8)
        first = math.ceil(self._first / step)
        return [number * step for number in range(first, math.floor(self._last / step) + 1)]


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= value * 0.999)


def _names(lines: Sequence[Line]) -> str:
    return ", ".join(line.name for line in lines)


def _grid(y: float, text: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{html.escape(text)}</text>'
    )


def _second(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>'


def _mark(x: float, text: str) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="mark"/>'
        f'<text x="{x + 4:.1f}" y="{TOP + 10}" class="marktext">{html.escape(text)}</text>'
    )


def _line(scale: _Scale, times: Sequence[float], line: Line, label: Callable[[float], str]) -> str:
    path, dots, pen_up = [], [], True
    for at, value in zip(times, line.values, strict=True):
        if value is None:
            pen_up = True
            continue
        x, y = scale.x(at), scale.y(value)
        path.append(f"{'M' if pen_up else 'L'}{x:.1f} {y:.1f}")
        pen_up = False
        title = f"{line.name} {label(value)} at {at:.0f} s"
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"><title>{html.escape(title)}</title></circle>')
    style = f"--c:var(--c{line.colour})"
    return f'<g class="line" style="{style}"><path d="{"".join(path)}"/>{"".join(dots)}</g>'
