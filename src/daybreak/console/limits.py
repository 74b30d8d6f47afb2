"""How often somebody may ask, and how often somebody may guess. Pure but for what was counted: the clock is handed in.

Shapes  what is kept is bounded: of more addresses than `_MOST` the one that was quiet for longest is forgotten.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MOST: Final = 10_000
_WINDOW_S: Final = 15 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, and so many per second after that."""

    burst: float
    per_s: float


class Buckets:
    """One bucket of turns per key; it fills itself."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # turns, and when they were counted
        self._lock = threading.Lock()

    def take(self, key: str, now: float) -> float:
        """Take a turn: 0 where there was one, else the seconds until there is."""
        with self._lock:
            left, at = self._left.pop(key, (self._rate.burst, now))
            left = min(self._rate.burst, left + max(0.0, now - at) * self._rate.per_s)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate.per_s
            self._left[key] = (left if wait else left - 1, now)
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
            return wait


#: Wrong sign-ins within 15 minutes, after which nothing is looked at: from one address with one name, from one
#: address, and with one name from wherever. The last is wide, so that nobody is locked out by a stranger soon.
_LIMITS: Final = {"pair": 5, "address": 30, "name": 100}


class Guesses:
    """Counts wrong sign-ins."""

    def __init__(self) -> None:
        self._at: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str, address: str, now: float) -> float:
        """Seconds until a sign-in is looked at again, 0: now."""
        with self._lock:
            waits = [0.0]
            for kind, key in _keys(name, address).items():
                recent = self._recent(key, now)
                if len(recent) >= _LIMITS[kind]:
                    waits.append(recent[-_LIMITS[kind]] + _WINDOW_S - now)
            return max(waits)

    def wrong(self, name: str, address: str, now: float) -> None:
        """Somebody guessed."""
        with self._lock:
            for key in _keys(name, address).values():
                self._at[key] = [*self._recent(key, now), now][-max(_LIMITS.values()) :]
                self._at.move_to_end(key)
            while len(self._at) > _MOST:
                self._at.popitem(last=False)

    def right(self, name: str, address: str) -> None:
        """Somebody knew; what was wrong with that name from that address is forgotten."""
        with self._lock:
            self._at.pop(_keys(name, address)["pair"], None)

    def _recent(self, key: str, now: float) -> list[float]:
        return [at for at in self._at.get(key, []) if at > now - _WINDOW_S]


def _keys(name: str, address: str) -> dict[str, str]:
    return {"pair": f"pair {address} {name}", "address": f"address {address}", "name": f"name {name}"}


def neighbourhood(address: str) -> str:
    """By what an address is counted: itself, and of IPv6 the network of 64 bits that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 6:  # noqa: PLR2004 -- the protocol's name
        return str(ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)
