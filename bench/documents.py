"""docs/performance.md in both languages, its charts, and the READMEs' tables: all made from one result.

The pages' prose is in bench/pages; `@name@` there stands for what is filled in here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.charts import Bar, bars
from bench.results_file import Contestant, Result
from bench.tables import (
    FLOOR,
    GATEWAY,
    NOTHING,
    Column,
    Target,
    beaten,
    best,
    centrifugo,
    number,
    own_median,
    row,
    table,
    targets,
)
from bench.wording import CHINESE, ENGLISH, Language

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path(__file__).resolve().parent / "pages"
README_PEERS = (GATEWAY, FLOOR, "centrifugo", "nchan", "bun", "socket.io", "python-socketio")
_SECTION = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def documents(result: Result) -> dict[Path, str]:
    """Every file that is made of a result, by its path from the repository's root."""
    made = {
        Path("docs/performance.md"): page(result, ENGLISH),
        Path("docs/performance.zh-CN.md"): page(result, CHINESE),
    }
    for name, (title, unit, measure) in charts(result).items():
        made[Path("docs/charts") / f"{name}.svg"] = chart(result, title, unit, measure)
    for path, language in ((Path("README.md"), ENGLISH), (Path("README.zh-CN.md"), CHINESE)):
        section = readme_section(result, language)
        made[path] = _SECTION.sub(section.replace("\\", r"\\"), (ROOT / path).read_text())
    return made


def write_documents(result: Result) -> None:
    for path, text in documents(result).items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text)


# ---------------------------------------------------------------------------- the page
def fan_out_columns(result: Result, people: int) -> list[Column]:
    names = {size: f"{size} B" if size < 1024 else f"{size // 1024} KB" for size in result.sizes}
    columns = [
        Column(f"{names[size]}, {burst}", f"fanout/{people}/{size}/{burst}")
        for size in result.sizes
        for burst in (1, 10)
    ]
    return [each for each in columns if best(result, each) is not None]


def page(result: Result, language: Language) -> str:
    say = language.texts
    small, large = result.crowds
    requests = [
        Column(say["rpc"], "rpc"),
        Column(say["connect"], "connect"),
        Column(say["memory column"], "memory"),
    ]
    latency = [
        Column("p50, ms", "latency/p50"),
        Column("p99, ms", "latency/p99"),
    ]
    tls = [Column(say["tls message"], "tls/fanout"), Column(say["tls rpc"], "tls/rpc")]
    everything = [
        *(
            Column(f"{say['fan-out']} {small:,} × {c.title}", c.measure)
            for c in fan_out_columns(result, small)
        ),
        *(
            Column(f"{say['fan-out']} {large:,} × {c.title}", c.measure)
            for c in fan_out_columns(result, large)
        ),
        *requests,
        *(Column(f"{say['latency']} {column.title}", column.measure) for column in latency),
        *tls,
    ]
    words = language.words
    parts = {
        "date": result.date,
        "machine": machine_line(result, language),
        "minutes": f"{result.minutes:.0f}",
        "quick": say["quick"] + "\n\n" if result.quick else "",
        "small": f"{small:,}",
        "large": f"{large:,}",
        "tls": f"{result.tls_crowd:,}",
        "session": number(result.of(GATEWAY).median("connect/session")),
        "targets": target_table(result, language),
        "centrifugo": say["library"].format(
            title=centrifugo(result).title, version=centrifugo(result).version
        ) if centrifugo(result).name == "centrifuge" else say["whole"],
        "fanout_small": table(result, fan_out_columns(result, small), words),
        "fanout_large": table(result, fan_out_columns(result, large), words),
        "requests": table(result, requests, words),
        "latency": latency_table(result, latency, language),
        "tls_table": table(result, tls, words),
        "beaten": beaten_list(result, everything, language),
        "own": own_table(result, language),
        "workers": say["workers explained"],
        "versions": version_table(result, language),
    }  # fmt: skip
    text = (PAGES / language.page).read_text()
    for name, content in parts.items():
        text = text.replace(f"@{name}@", content)
    return text


def machine_line(result: Result, language: Language) -> str:
    machine = result.machine
    cores = machine["cpu"].replace(" cores", language.texts["cores"])
    return f"{cores}, Linux {machine['kernel']}, Python {machine['python']}"


def target_table(result: Result, language: Language) -> str:
    say = language.texts
    lines = [row([say["goal"], say["limit"], say["measured"], ""]), row(["---", "---:", "---:", "---"])]
    for target in targets(result):
        sign = "≥" if target.at_least else "≤"
        measured = NOTHING if target.measured is None else f"{number(target.measured)}{target.unit}"
        lines.append(
            row([say[target.key], f"{sign} {target.limit:g}{target.unit}", measured, verdict(target, say)])
        )
    return "\n".join(lines)


def verdict(target: Target, say: dict[str, str]) -> str:
    return {None: say["not measured"], True: say["met"], False: f"**{say['missed']}**"}[target.met]


def latency_table(result: Result, columns: Sequence[Column], language: Language) -> str:
    """With the rate that was half load, which is no contest."""
    lines = table(result, columns, language.words).splitlines()
    rates = {each.title: each.median("latency/rate") for each in result.contestants}
    made = [f"{lines[0]} {language.texts['rate']} |", f"{lines[1]} ---: |"]
    for line in lines[2:]:
        title = line.split("|")[1].strip(" *")
        made.append(f"{line} {number(rates.get(title))} |")
    return "\n".join(made)


def beaten_list(result: Result, columns: Sequence[Column], language: Language) -> str:
    lines = [
        language.texts["beaten"].format(
            what=column.title, who=winner.title, theirs=number(theirs), ours=number(ours)
        )
        for column, winner, theirs, ours in beaten(result, columns)
    ]
    return "\n".join(lines) if lines else language.texts["nowhere"]


def own_table(result: Result, language: Language) -> str:
    say = language.texts
    lines = [
        row([say["quantity"], say["unit"], "wx-gateway", say["reference"]]),
        row(["---", "---", "---:", "---:"]),
    ]
    for each in result.own:
        name = each["name"]
        ours, reference = own_median(result, name), own_median(result, name, "reference")
        lines.append(row([language.own.get(name, name), each["unit"], number(ours), number(reference)]))
    return "\n".join(lines)


def version_table(result: Result, language: Language) -> str:
    say = language.texts
    lines = [row([say["server"], say["language"], say["version"], say["note"]]), row(["---"] * 4)]
    lines += [
        row([each.title, each.language, each.version or NOTHING, remark(each, language)])
        for each in result.contestants
    ]
    return "\n".join(lines)


def remark(contestant: Contestant, language: Language) -> str:
    if contestant.missing:
        return f"{language.words.missing}: {contestant.missing}"
    failed = [f"{language.words.failed}: {name}" for name in contestant.problems]
    note = language.notes.get(contestant.name, contestant.note)
    return "; ".join([*([note] if note else []), *failed])


# ---------------------------------------------------------------------------- charts
def charts(result: Result) -> dict[str, tuple[str, str, str]]:
    small = result.crowds[0]
    return {
        "fanout-1": (
            "Server CPU per delivered message, one publication per turn",
            "µs",
            f"fanout/{small}/128/1",
        ),
        "fanout-10": (
            "Server CPU per delivered message, ten publications per turn",
            "µs",
            f"fanout/{small}/128/10",
        ),
        "rpc": ("Server CPU per request and its answer", "µs", "rpc"),
        "connect": ("Server CPU per connect, sign-in and subscription", "µs", "connect"),
        "memory": ("Memory per idle connection", "KB", "memory"),
    }


def chart(result: Result, title: str, unit: str, measure: str) -> str:
    kinds = {GATEWAY: "ours", FLOOR: "floor"}
    rows = [
        Bar(each.title, value, number(value), kinds.get(each.name, "peer"))
        for each in result.contestants
        if (value := each.median(measure)) is not None
    ]
    return bars(title, unit, rows)


# ---------------------------------------------------------------------------- the READMEs
def readme_section(result: Result, language: Language) -> str:
    """A few of the figures, of a few of the servers."""
    say, small = language.texts, result.crowds[0]
    named = [centrifugo(result) if name == "centrifugo" else result.of(name) for name in README_PEERS]
    shown = [each for each in named if each.values]
    quantities = (
        ("readme one", f"fanout/{small}/128/1"),
        ("readme ten", f"fanout/{small}/128/10"),
        ("readme rpc", "rpc"),
        ("readme connect", "connect"),
        ("readme memory", "memory"),
        ("readme tls", "tls/fanout"),
    )
    lines = [
        row([say["readme head"].format(date=result.date, machine=machine_line(result, language)),
             *(each.title for each in shown)]),
        row(["---"] + ["---:"] * len(shown)),
    ]  # fmt: skip
    for key, measure in quantities:
        cells = [number(each.median(measure)) for each in shown]
        lines.append(row([say[key].format(people=f"{small:,}"), *cells]))
    alone = [row([say["readme alone"], "wx-gateway"]), row(["---", "---:"])]
    for name, unit in (
        ("/api/publish", "µs"),
        ("from Redis to one subscriber, 200 at a time", "µs"),
        ("1,000 a second to 1,000 subscribers: p99", "ms"),
    ):
        alone.append(row([f"{language.own.get(name, name)}, {unit}", number(own_median(result, name))]))
    return "\n".join([*lines, "", *alone, ""])
