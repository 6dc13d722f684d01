"""Bar charts as SVG that read well on light and on dark pages, and in any language: names, bars, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
LABELS = 210
VALUES = 90
BAR = 18
STEP = 27
TOP = 8
CUT = 4.0
"""How many times the gateway's value a bar may be long; what is longer is drawn broken."""

STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", "Microsoft YaHei", sans-serif; fill: #1f2328 }
.unit { fill: #59636e }
.peer { fill: #9aa4b2 } .floor { fill: #c9d1d9 } .ours { fill: #07a35a }
.gap { stroke: #ffffff; stroke-width: 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .unit { fill: #9198a1 }
  .peer { fill: #6b7684 } .floor { fill: #414a55 } .ours { fill: #2fbf71 }
  .gap { stroke: #0d1117 }
}"""


@dataclass(frozen=True)
class Bar:
    """One server's bar. `kind` is how it looks: ours, floor, peer."""

    label: str
    value: float
    text: str
    kind: str = "peer"


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """A chart of `rows`, the shortest bar first; `title` is for those who cannot see it."""
    rows = sorted(rows, key=lambda row: row.value)
    most = max((row.value for row in rows), default=1.0)
    ours = next((row.value for row in rows if row.kind == "ours"), most)
    longest = min(most, max(CUT * ours, rows[(len(rows) - 1) // 2].value if rows else 1.0)) or 1.0
    room = WIDTH - LABELS - VALUES
    height = TOP * 2 + STEP * len(rows)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    for number, row in enumerate(rows):
        y = TOP + STEP * number
        length = max(2.0, room * min(1.0, row.value / longest))
        middle = y + BAR - 5
        weight = ' font-weight="600"' if row.kind == "ours" else ""
        lines.append(
            f'<text x="{LABELS - 10}" y="{middle}" text-anchor="end"{weight}>{escape(row.label)}</text>'
        )
        lines.append(
            f'<rect class="{row.kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>'
        )
        if row.value > longest:
            x = LABELS + room - 22
            lines.append(f'<path class="gap" d="M{x} {y + BAR + 2} l8 -{BAR + 4}"/>')
        lines.append(
            f'<text x="{LABELS + length + 8:.1f}" y="{middle}"{weight}>{row.text} '
            f'<tspan class="unit">{escape(unit)}</tspan></text>'
        )
    return "\n".join([*lines, "</svg>", ""])
