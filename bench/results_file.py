"""What one run of the comparison leaves behind: every value of every round, and where it was measured."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


@dataclass
class Contestant:
    """One server: what it is, and what was measured of it.

    Attributes:
        missing: why it could not be installed; empty where it was measured.
        problems: what went wrong while measuring, by measure.
        values: per measure (see `bench.compare`) a value per round.
    """

    name: str
    title: str
    language: str
    version: str = ""
    note: str = ""
    missing: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, measure: str) -> float | None:
        values = self.values.get(measure)
        return statistics.median(values) if values else None


@dataclass
class Result:
    """A run.

    Attributes:
        date: of its start, YYYY-MM-DD.
        quick: whether it was cut short; its figures are a first impression.
        crowds: numbers of subscribers, the smaller first.
        own: rows of the gateway's own measures: name, unit, ours, reference (values per round).
    """

    date: str
    quick: bool
    minutes: float
    machine: dict[str, str]
    crowds: list[int]
    sizes: list[int]
    tls_crowd: int
    contestants: list[Contestant]
    own: list[dict[str, Any]]

    def of(self, name: str) -> Contestant:
        return next(each for each in self.contestants if each.name == name)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        content = json.loads(path.read_text())
        content["contestants"] = [Contestant(**each) for each in content["contestants"]]
        return cls(**content)

    @classmethod
    def newest(cls) -> Result:
        return cls.load(max(FOLDER.glob("*.json")))


def _rounded(value: Any) -> Any:
    """Five digits are more than any of the figures is good for."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
