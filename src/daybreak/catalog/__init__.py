"""What happened: runs, archives, enrolled databases and snapshots, in one SQLite file per state folder.

`Catalog.open(folder)` is the way in. Importing this package loads SQLAlchemy, some tenths of a second, so a
door that only prints help does not.
"""

from daybreak.catalog.catalog import Catalog
from daybreak.catalog.ids import new_run_id
from daybreak.catalog.records import ArchiveRecord, CancelRequest, Creation, Enrolment, Progress, Role, Shipment
from daybreak.catalog.store import is_full

__all__ = [
    "ArchiveRecord",
    "CancelRequest",
    "Catalog",
    "Creation",
    "Enrolment",
    "Progress",
    "Role",
    "Shipment",
    "is_full",
    "new_run_id",
]
