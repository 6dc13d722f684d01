"""What was measured, held against what is to be reached."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One quantity: ours and what it is held against, a value per round.

    Attributes:
        times: target as a multiple of the reference's median; 0: none.
        most: target as an absolute value in `unit`; 0: none.
    """

    name: str
    unit: str
    ours: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    times: float = 0.0
    most: float = 0.0
    note: str = ""

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.reference:
            return None
        return statistics.median(self.ours) / statistics.median(self.reference)

    @property
    def verdict(self) -> str:
        """PASS, FAIL, or nothing where no target is set or nothing was measured."""
        if not self.ours:
            return "not measured" if self.times or self.most else ""
        ratio = self.ratio
        if self.times and ratio is not None:
            return "PASS" if ratio <= self.times else "FAIL"
        if self.most:
            return "PASS" if statistics.median(self.ours) <= self.most else "FAIL"
        return ""

    @property
    def target(self) -> str:
        if self.times:
            return f"≤ {self.times:g}×"
        return f"≤ {self.most:g} {self.unit}" if self.most else ""


def spread(values: list[float]) -> str:
    """Median, and least and most in brackets."""
    if not values:
        return ""
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f}-{max(values):.2f})"


def show(rows: list[Row], console: Console) -> None:
    table = Table("measure", "unit", "gateway", "reference", "ratio", "target", "", title=None)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
        name = f"{row.name}\n  [dim]{row.note}[/dim]" if row.note else row.name
        table.add_row(name, row.unit, spread(row.ours), spread(row.reference), ratio, row.target, row.verdict)
    console.print(table)


def machine() -> dict[str, str]:
    """Where and with what this was measured."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ("websockets", "uvloop", "msgspec", "starlette", "uvicorn", "httptools")
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def save(rows: list[Row], path: Path) -> None:
    """All values of all rounds, for comparing runs."""
    content = {
        "machine": machine(),
        "rows": [
            {
                "name": row.name,
                "unit": row.unit,
                "gateway": row.ours,
                "reference": row.reference,
                "ratio": row.ratio,
                "target": row.target,
                "verdict": row.verdict,
            }
            for row in rows
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
