"""What `restic check` found, read from its words. Pure.

Shapes  lines of stdout and stderr, plain (0.14) or JSON (0.18 and newer), in; packs, trees and sentences out.
Errors  none: a line that nobody knows is no finding, and an exit status without one is a fault of its own.
Source  restic 0.14.0 and 0.18.0 over repositories with a flipped byte, and without a pack, an index, a tree.
        A snapshot that is gone leaves no trace in a repository: `check` finds nothing, the catalog has to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from daybreak.restic.messages import error_text, parse_broken_packs

_ID: Final = r"[0-9a-f]{64}"
_PACK: Final = re.compile(rf"\bpack ({_ID})(?:: | contains )|Pack (?:ID|size) does not match, want ({_ID})")
_TREE: Final = re.compile(r"\berror for tree ([0-9a-f]{8,64})")
_OTHER: Final = re.compile(
    r"(?:error loading|load <|LoadRaw\(<|loading) ?(?:index|snapshot)[ /].*|LoadIndex returned errors"
    r"|(?:index|snapshot)/?\S* .*(?:invalid data returned|ciphertext verification failed)",
    re.IGNORECASE,
)
#: Said of packs that are whole and that nothing needs: the next prune removes them.
_HARMLESS: Final = re.compile(r"not referenced in any index|duplicate")
#: Said of packs that could not be looked at: the line was bad, which says nothing about the pack.
_UNREAD: Final = re.compile(
    r"dial tcp|connection (?:refused|reset)|no such host|i/o timeout|TLS handshake|Access ?Denied|SlowDown"
    r"|\((?:403|429|5\d\d)\)|context (?:canceled|deadline)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Findings:
    """The damage of one check; `hear` takes every line that restic says."""

    packs: list[str] = field(default_factory=list[str])  # whole ids, in the order of their mention
    trees: list[str] = field(default_factory=list[str])  # ids, at least 8 digits
    others: list[str] = field(default_factory=list[str])  # sentences of restic's about indexes and snapshots

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not (self.packs or self.trees or self.others)

    def hear(self, line: str) -> None:
        """One line of stdout or stderr."""
        for pack in parse_broken_packs(line):
            _add(self.packs, pack)
        for text in error_text(line).splitlines():
            if _HARMLESS.search(text) or _UNREAD.search(text):
                continue
            if found := _PACK.search(text):
                _add(self.packs, found[1] or found[2])
            elif found := _TREE.search(text):
                _add(self.trees, found[1])
            elif _OTHER.search(text):
                _add(self.others, text.strip().removeprefix("Fatal: "))


def _add(found: list[str], one: str) -> None:
    if one not in found:
        found.append(one)
