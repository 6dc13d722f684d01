"""The result as one HTML file: no script, no network, light or dark as the reader's system is."""

from __future__ import annotations

import html
from collections.abc import Callable

from gateway.loadtest.charts import Line, bars, chart, legend
from gateway.loadtest.result import Point, Result, seconds
from gateway.loadtest.show import NAMES, advice

STYLE = """
:root{color-scheme:light dark;--bg:#f7f8fa;--card:#fff;--ink:#1c2430;--dim:#5d6878;--rule:#e3e7ee;
--good:#12803c;--bad:#c22f2f;--c1:#2f6fde;--c2:#0f9d76;--c3:#d9730d;--c4:#c22f2f}
@media(prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1b212b;--ink:#e6eaf0;--dim:#98a3b3;--rule:#2d3542;
--good:#4cc27a;--bad:#ff7b72;--c1:#6ea8ff;--c2:#45c9a0;--c3:#f0a04b;--c4:#ff7b72}}
*{box-sizing:border-box}
body{margin:0 auto;padding:32px 20px 60px;max-width:860px;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans CJK SC",sans-serif}
h1{font-size:26px;margin:0}h2{font-size:16px;margin:0 0 8px}
.dim{color:var(--dim)}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;
margin-top:16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px}
.tiles b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.verdict{display:inline-block;padding:2px 12px;border-radius:99px;color:#fff;font-weight:600;font-size:14px;
vertical-align:middle;margin-left:10px}
.verdict.pass{background:var(--good)}.verdict.fail{background:var(--bad)}
@media(prefers-color-scheme:dark){.verdict{color:#10151c}}
ul{margin:0;padding-left:20px}li.fail{color:var(--bad);font-weight:600}li.pass{color:var(--good)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 8px;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--dim);font-weight:500}th:first-child,td:first-child{text-align:left;white-space:normal}
.scroll{overflow-x:auto}
svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font-size:12px}
.grid{stroke:var(--rule)}.mark{stroke:var(--c4);stroke-dasharray:4 3}svg .marktext{fill:var(--c4)}
.line path{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}.line circle{fill:var(--c)}
.bad{fill:var(--bad)}
.key{margin-right:16px;color:var(--dim);font-size:13px}.key i{display:inline-block;width:12px;height:3px;
border-radius:2px;margin-right:6px;vertical-align:middle}
.warn{border-left:4px solid var(--c3)}
"""


def page(result: Result) -> str:
    """The whole document."""
    word = "passed" if result.passed else "failed"
    badge = (
        f'<span class="verdict {"pass" if result.passed else "fail"}">{word}</span>' if result.checks else ""
    )
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(result.scenario)}: load test</title><style>{STYLE}</style>",
        f"<h1>{_text(result.scenario)}{badge}</h1>",
        f'<div class="dim">{_text(result.about)}<br>{_text(result.target)} · {_text(result.started)} · '
        f"wx-gateway {_text(result.version)} · {_text(result.machine)}</div>",
        _tiles(result),
        _checks(result),
        *(f'<section class="warn">{_text(text)}</section>' for text in advice(result)),
        _times(result),
        *_charts(result),
        _errors(result),
    ]
    return "\n".join(part for part in parts if part) + "</html>\n"


def _text(value: object) -> str:
    return html.escape(str(value))


def _tiles(result: Result) -> str:
    total = result.total
    latency = result.times.get("latency")
    tiles = [("clients", f"{result.clients:,}"), ("connected in", f"{result.connecting:.1f} s")]
    if latency is not None:
        tiles += [
            ("messages delivered", f"{total.messages + total.caught_up:,}"),
            ("p99", seconds(latency.p99)),
            ("lost · doubled · out of order", f"{total.lost} · {total.duplicated} · {total.reordered}"),
        ]
    if total.rpcs:
        tiles.append(("RPC answered", f"{total.answers:,}"))
    if total.uploads:
        tiles.append(("files sent", f"{total.uploads:,}"))
    if result.storms:
        tiles.append(("all back after", seconds(result.back)))
    if result.wechat_calls is not None:
        tiles.append(("calls to WeChat", str(result.wechat_calls)))
    if total.slow_closed:
        tiles.append(("slow clients closed", str(total.slow_closed)))
    tiles.append(("errors", f"{total.failures + result.never_connected:,}"))
    cells = "".join(
        f'<div><span class="dim">{_text(name)}</span><b>{_text(value)}</b></div>' for name, value in tiles
    )
    return f'<section><div class="tiles">{cells}</div></section>'


def _checks(result: Result) -> str:
    marks = {True: ("pass", ""), False: ("fail", "failed: ")}
    items = "".join(
        f'<li class="{marks[check.passed][0]}">{marks[check.passed][1]}{_text(check.text)}</li>'
        for check in result.checks
    )
    return f"<section><h2>Thresholds</h2><ul>{items}</ul></section>" if items else ""


def _times(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{times.count:,}</td>"
        + "".join(
            f"<td>{seconds(each)}</td>" for each in (times.p50, times.p90, times.p99, times.p999, times.max)
        )
        + "</tr>"
        for kind, name in NAMES.items()
        if (times := result.times.get(kind)) is not None
    )
    head = "<tr><th></th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
    note = (
        "Messages, publish calls, RPC and files count from when they were due, whether or not the server was "
        "ready for them. Own lateness: of the load generator itself."
    )
    table = f'<div class="scroll"><table>{head}{rows}</table></div>'
    return f'<section><h2>Times</h2>{table}<p class="dim">{note}</p></section>'


def _charts(result: Result) -> list[str]:
    points = result.points
    marks = [(storm.at, f"{storm.dropped:,} dropped") for storm in result.storms]

    def over_time(title: str, lines: list[Line], label: Callable[[float], str], *, log: bool = False) -> str:
        drawn = chart([point.at for point in points], lines, label, log=log, marks=marks)
        return f"<section><h2>{title}</h2>{legend(lines)}{drawn}</section>" if drawn else ""

    parts = [
        over_time(title, _percentiles(points, kind), seconds, log=True)
        for kind, title in (
            ("latency", "Latency of messages"),
            ("rpc", "Latency of RPC"),
            ("connect", "Time to connect"),
            ("upload", "Time of uploads"),
        )
    ]
    parts.append(over_time("Connected", [Line("clients", 1, [point.connected for point in points])], _whole))
    rates = [Line("connects per second", 2, _rate(points, "connects"))]
    if result.total.attempts != result.total.connects:
        rates.insert(0, Line("attempts per second", 3, _rate(points, "attempts")))
    parts.append(over_time("Connects", rates, _whole))
    if result.total.messages:
        parts.append(over_time("Messages", [Line("per second", 1, _rate(points, "messages"))], _whole))
    return parts


def _percentiles(points: list[Point], kind: str) -> list[Line]:
    return [
        Line(name, colour, [point.tally.times(kind).percentile(share) for point in points])
        for name, colour, share in (("p50", 1, 0.5), ("p90", 2, 0.9), ("p99", 3, 0.99), ("max", 4, 1.0))
    ]


def _rate(points: list[Point], name: str) -> list[float]:
    before = [0.0, *(point.at for point in points)]
    return [
        getattr(point.tally, name) / max(point.at - earlier, 0.25)
        for point, earlier in zip(points, before, strict=False)
    ]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _errors(result: Result) -> str:
    rows = sorted(result.total.errors.items(), key=lambda pair: -pair[1])[:20]
    return f"<section><h2>Errors</h2>{bars(rows)}</section>" if rows else ""
