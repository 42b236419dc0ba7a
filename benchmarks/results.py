"""What a run has found: every figure of every round, as results.json holds it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import median


@dataclass(frozen=True)
class Measurement:
    """The figures of a contestant in a case and a round. A figure's name ends with its unit."""

    part: str
    case: str
    contestant: str
    round: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Profile:
    """Where a process spent its time: (function, percent in itself, percent with what it calls) a row."""

    part: str
    case: str
    contestant: str
    rows: list[tuple[str, float, float]]


@dataclass
class Results:
    """A run, or several of different parts. `failures` are words by part.

    `facts` are about the machine, the versions and the last run. `facts["parts"]` says of each part when, at which
    commit and in how many rounds it was measured.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def by_round(self, part: str, case: str, contestant: str, figure: str) -> dict[int, float]:
        """The figure in each round in which it was measured."""
        return {
            each.round: each.figures[figure]
            for each in self.measurements
            if (each.part, each.case, each.contestant) == (part, case, contestant) and figure in each.figures
        }

    def median(self, part: str, case: str, contestant: str, figure: str) -> float:
        """The median of the rounds; NaN if it was not measured."""
        return median(list(self.by_round(part, case, contestant, figure).values()))

    def parts(self) -> list[str]:
        """The parts that ran, in their order."""
        return list(dict.fromkeys([each.part for each in self.measurements] + list(self.failures)))

    def followed_by(self, run: "Results") -> "Results":
        """These results, in which the parts of a later run replace the same parts."""
        new = set(run.parts())
        return Results(
            facts={**run.facts, "parts": {**self.facts["parts"], **run.facts["parts"]}},
            measurements=[each for each in self.measurements if each.part not in new] + run.measurements,
            profiles=[each for each in self.profiles if each.part not in new] + run.profiles,
            failures={part: words for part, words in self.failures.items() if part not in new} | run.failures,
        )

    def save(self, file: Path) -> None:
        """Write it as JSON, a measurement a line."""
        lines = ",\n  ".join(json.dumps(asdict(each), ensure_ascii=False) for each in self.measurements)
        profiles = ",\n  ".join(json.dumps(asdict(each), ensure_ascii=False) for each in self.profiles)
        rest = json.dumps({"facts": self.facts, "failures": self.failures}, indent=1, ensure_ascii=False)
        file.write_text(f'{rest[:-2]},\n "profiles": [\n  {profiles}\n ],\n "measurements": [\n  {lines}\n ]\n}}\n')

    @classmethod
    def load(cls, file: Path) -> "Results":
        """What `save` has written."""
        known = json.loads(file.read_text())
        return cls(
            facts=known["facts"],
            failures=known["failures"],
            measurements=[Measurement(**each) for each in known["measurements"]],
            profiles=[Profile(**{**each, "rows": [tuple(row) for row in each["rows"]]}) for each in known["profiles"]],
        )
