"""What the doctor found: one piece of the chain, how it is, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from daybreak.errors import DaybreakError


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works tonight, and a person should look at it
    ERROR = "error"  # something will fail, or has


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One piece, judged. `id` is stable, `subject` is the plan, database or repository that it is a piece of."""

    id: str
    subject: str
    severity: Severity
    text: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """As it stands in `--json`."""
        return {
            "id": self.id,
            "subject": self.subject,
            "severity": self.severity.value,
            "finding": self.text,
            "fix": self.fix,
        }


def read_finding(document: Mapping[str, str]) -> Finding:
    """A finding as it stands in `--json`."""
    severity = Severity(document["severity"])
    text, fix = document["finding"], document["fix"]
    return Finding(id=document["id"], subject=document["subject"], severity=severity, text=text, fix=fix)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece that is looked at; makes its findings."""

    id: str
    subject: str

    def ok(self, text: str) -> Finding:
        """Nothing to do."""
        return Finding(id=self.id, subject=self.subject, severity=Severity.OK, text=text)

    def warning(self, text: str, fix: str) -> Finding:
        """Something to look at."""
        return Finding(id=self.id, subject=self.subject, severity=Severity.WARNING, text=text, fix=fix)

    def error(self, text: str, fix: str) -> Finding:
        """Something to mend."""
        return Finding(id=self.id, subject=self.subject, severity=Severity.ERROR, text=text, fix=fix)

    def fault(self, error: DaybreakError) -> Finding:
        """A foreseen fault as a finding."""
        return self.error(error.message, error.hint or "mend what it says, then ask again")


def is_ill(findings: Iterable[Finding]) -> bool:
    """Whether one of them is an error."""
    return any(one.severity is Severity.ERROR for one in findings)


def worst_first(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Errors, then warnings, then what is well; each in its order."""
    found = list(findings)
    for severity in (Severity.ERROR, Severity.WARNING, Severity.OK):
        yield from (one for one in found if one.severity is severity)
