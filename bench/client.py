"""A client that connects, asks one question and leaves, again and again, until its stdin is closed.

    client.py CONNINFO FILE PAUSE_S

Writes one line per try into FILE: began and ended (seconds of the monotonic clock), and the version that the
database answered, -1 where it did not let us in.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

import psycopg


def main() -> None:
    """Knock until the end of stdin."""
    conninfo, place, pause_s = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    with place.open("w") as file:
        while not select.select([sys.stdin], [], [], pause_s)[0]:
            began = time.monotonic()
            version = ask(conninfo)
            file.write(f"{began:.6f} {time.monotonic():.6f} {version}\n")


def ask(conninfo: str) -> int:
    """The version of the data behind `conninfo`; -1 for no answer."""
    try:
        with psycopg.connect(conninfo, connect_timeout=5, autocommit=True) as connection:
            row = connection.execute("SELECT version FROM app.release").fetchone()
            return int(row[0]) if row else -1
    except psycopg.Error:
        return -1


if __name__ == "__main__":
    main()
