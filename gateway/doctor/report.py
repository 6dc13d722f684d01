"""Findings, and how they are shown: a table for people, JSON for machines, an exit code for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Level(StrEnum):
    """How bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


SIGNS: Final = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "bold red")}
EXIT_CODES: Final = {Level.OK: 0, Level.WARN: 1, Level.FAIL: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at, a few words.
        found: what was seen.
        fix: what to do; empty only where all is well.
    """

    check: str
    level: Level
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.WARN, found, fix)


def fail(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.FAIL, found, fix)


@dataclass(frozen=True, slots=True)
class Report:
    """All of it.

    Attributes:
        domains: the lists to paste into the console, by their names there.
        unprovable: what no program can check, and where to do it.
    """

    domain: str
    findings: Sequence[Finding]
    domains: dict[str, str]
    unprovable: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0: a phone can work with it. 1: it can, with the reservations marked `!`. 2: it cannot."""
        return max((EXIT_CODES[each.level] for each in self.findings), default=0)

    def to_json(self) -> str:
        content = {
            "domain": self.domain,
            "exit_code": self.exit_code,
            "findings": [asdict(each) for each in self.findings],
            "domains": self.domains,
            "unprovable": list(self.unprovable),
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def show(self, console: Console) -> None:
        table = Table(title=f"What a phone finds at {self.domain}", show_lines=True, title_justify="left")
        table.add_column("")
        table.add_column("check", no_wrap=True)
        table.add_column("found, and what to do", ratio=1)
        for each in self.findings:
            sign, style = SIGNS[each.level]
            # Text, not markup: what a server sent may have brackets in it.
            text = Text(each.found)
            if each.fix:
                text.append(f"\n→ {each.fix}", style=style)
            table.add_row(Text(sign, style=style), Text(each.check), text)
        console.print(table)
        self._show_advice(console)

    def _show_advice(self, console: Console) -> None:
        if self.domains:
            console.print("\nFor the console, mp.weixin.qq.com → 开发管理 → 开发设置 → 服务器域名:")
        for name, value in self.domains.items():
            console.print(Text(f"  {name:<24} {value}"))
        console.print("\nNo program can check:")
        for line in self.unprovable:
            console.print(Text(f"  · {line}"))
        counts = {level: sum(each.level is level for each in self.findings) for level in Level}
        parts = [f"{SIGNS[level][0]} {count}" for level, count in counts.items()]
        console.print(f"\n{'   '.join(parts)}")
