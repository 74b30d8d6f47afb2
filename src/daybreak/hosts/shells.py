"""Commands for the far end of ssh, where a login shell reads them: whichever that is. Pure.

Source  sh, csh and fish agree on what stands between single quotes only where there is no quote, backslash,
        exclamation mark or end of line in it: fish reads some backslashes there, csh its history, and ends with a line.
"""

from __future__ import annotations

import shlex
import string
from typing import Final

_ALIKE: Final = frozenset((string.ascii_letters + string.digits + ' _./:=,@+-;|&<>()[]{}$"*?#~^`').encode())


def in_any_shell(text: str) -> str:
    """A simple command, quoted for sh, as a text that every login shell hands over to sh unchanged."""
    return f"""exec sh -c 'eval "exec $(printf %b "$0")"' '{_escaped(text)}'"""


def weight(word: str) -> int:
    """How many bytes a word of a command takes on its way over ssh."""
    return len(_escaped(shlex.quote(word)))


def _escaped(text: str) -> str:
    """What `printf %b` makes the text of again."""
    return "".join(chr(one) if one in _ALIKE else f"\\0{one:03o}" for one in text.encode("utf-8", "surrogateescape"))
