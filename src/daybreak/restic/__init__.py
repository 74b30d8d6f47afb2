"""restic, as a neighbour: command values, JSON messages, faults told apart, and a client that joins them.

Shapes  `Restic` speaks for one repository; whatever goes wrong there is an `OffsiteError` with a reason.
Source  restic 0.14.0, 0.18.0 and 0.19.1, run and measured; before 0.17 every fault has exit status 1.
"""

from __future__ import annotations

from daybreak.restic.client import Restic, is_dead
from daybreak.restic.faults import damaged, show_lock
from daybreak.restic.findings import Findings
from daybreak.restic.messages import Entry, Listing, Lock, Progress, Summary

__all__ = ["Entry", "Findings", "Listing", "Lock", "Progress", "Restic", "Summary", "damaged", "is_dead", "show_lock"]
