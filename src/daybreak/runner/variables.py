"""What the runner tells the Daybreak that it starts, as variables of its environment."""

from __future__ import annotations

from typing import Final

#: Who asked.
TRIGGER: Final = "DAYBREAK_TRIGGER"
#: What the run is called.
RUN_ID: Final = "DAYBREAK_RUN_ID"
