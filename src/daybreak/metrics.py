"""What Prometheus is told, as text: from measurements to the exposition format, and to a file.

Shapes  a `Measure` is one number with its labels; every name is in `FAMILIES`, and no other is taken. A registry
        is built for each answer, so nothing is counted here, and nothing is lost by a restart.
Units   as Prometheus wants them: seconds, bytes, Unix time; the name says which.
Errors  `PublishError` for a file that cannot be written; `ValueError` for a measure that no family describes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daybreak import files

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: name -> what it means, its labels.
FAMILIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "daybreak_info": ("Which Daybreak this is; always 1.", ("version",)),
    "daybreak_measured_timestamp_seconds": ("When these numbers were taken from the catalog.", ()),
    "daybreak_last_success_timestamp_seconds": ("When the last run that succeeded ended.", ("plan", "kind")),
    "daybreak_last_success_age_seconds": ("How long ago that was; not in the file.", ("plan", "kind")),
    "daybreak_last_success_duration_seconds": ("How long it took.", ("plan", "kind")),
    "daybreak_last_run_timestamp_seconds": ("When the last run was asked for, whatever came of it.", ("plan", "kind")),
    "daybreak_last_run_failed": ("Whether the last run that turned out failed or died.", ("plan", "kind")),
    "daybreak_run_active": ("Whether a run is waiting or going on.", ("plan", "kind")),
    "daybreak_next_slot_timestamp_seconds": ("When the plan is due again; not in the file.", ("plan", "kind")),
    "daybreak_slots_missed": ("Slots of the plan that nothing made up for, since it was first seen.", ("plan", "kind")),
    "daybreak_archive_taken_timestamp_seconds": ("When the newest published archive's snapshot began.", ("plan",)),
    "daybreak_archive_size_bytes": ("Its size.", ("plan",)),
    "daybreak_archive_rows": ("Its rows.", ("plan",)),
    "daybreak_archive_tables": ("Its tables.", ("plan",)),
    "daybreak_archive_proven": ("Whether it was restored and compared.", ("plan",)),
    "daybreak_archive_growth_bytes": ("How much larger it is than the archive before it.", ("plan",)),
    "daybreak_archive_dump_seconds": ("How long its dump took.", ("plan",)),
    "daybreak_archive_quarantined": ("Whether a suspicious archive waits for a person.", ("plan",)),
    "daybreak_offsite_taken_timestamp_seconds": ("When the newest archive there was taken.", ("plan", "repository")),
    "daybreak_offsite_growth_bytes": ("What the repository grew by with its newest snapshot.", ("plan", "repository")),
    "daybreak_offsite_size_bytes": ("What the newest snapshot holds.", ("plan", "repository")),
    "daybreak_refresh_outage_seconds": ("How long the target was away in the last refresh.", ("plan",)),
    "daybreak_refresh_data_timestamp_seconds": (
        "When the target's data was taken, whichever refresh brought it; not after an undo.",
        ("plan",),
    ),
    "daybreak_alert_open": ("An alert that is not over; always 1.", ("plan", "event")),
    "daybreak_notify_failed": ("Whether the last message to a destination did not arrive.", ("destination",)),
}
_FILE_MODE: Final = 0o644  # node_exporter is another user


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class _Collected:
    """What a registry asks: the measures as they are now."""

    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = tuple(measures)

    def collect(self) -> Iterator[Metric]:
        """The families that have a measure, in the order of `FAMILIES`."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 -- see `render`

        if unknown := {one.name for one in self._measures} - FAMILIES.keys():
            raise ValueError(f"not in FAMILIES: {unknown}")
        for name, (meaning, labels) in FAMILIES.items():
            its = [one for one in self._measures if one.name == name]
            if its:
                family = GaugeMetricFamily(name, meaning, labels=labels)
                for one in its:
                    family.add_metric([one.labels[label] for label in labels], one.value)
                yield family


def render(measures: Iterable[Measure]) -> bytes:
    """The measures as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 -- slow to import

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(measures))
    return generate_latest(registry)


def write_file(path: Path, measures: Iterable[Measure]) -> None:
    """Write them for node_exporter's textfile collector: whole or not at all, readable for everybody."""
    text = render(measures)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")  # the collector reads *.prom only
    with files.disk_errors(path, "cannot write the metrics file"):
        try:
            beside.write_bytes(text)
            beside.chmod(_FILE_MODE)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
