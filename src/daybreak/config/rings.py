"""Refreshes that feed each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def ring_of(feeds: Mapping[str, list[tuple[str, str]]]) -> list[str]:
    """The refreshes of one ring, [] where there is none."""
    done: set[str] = set()

    def walk(database: str, way: list[tuple[str, str]]) -> list[str]:
        seen = [before for before, _ in way]
        if database in seen:
            return [refresh for _, refresh in way[seen.index(database) :]]
        if database in done:
            return []
        for target, refresh in feeds.get(database, []):
            found = walk(target, [*way, (database, refresh)])
            if found:
                return found
        done.add(database)
        return []

    for database in feeds:
        found = walk(database, [])
        if found:
            return found
    return []
