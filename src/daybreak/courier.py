"""A process of its own that carries one message: `python -m daybreak.courier`, started by `notify.py`.

Whatever a destination does (hang, redirect, lie), it does to this process, which is ended at its deadline. It has
no proxy of the environment, follows no redirect, and writes nothing to the disk.

Shapes  the variable DAYBREAK_MESSAGE is one JSON object: `url`, and `title`, `body`, `kind` for Apprise; without
        them a plain GET. stdout is `{"fault": ""}`, or why the message did not arrive.
Units   seconds.
Source  Apprise's own log says why it failed; its `error=NNN` is the status of the answer.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

VARIABLE: Final = "DAYBREAK_MESSAGE"
CONNECT_S: Final = 4.0
READ_S: Final = 8.0
_PAUSE_S: Final = 2.0
_TRIES: Final = 2
#: Answers that may be another one in a moment.
_PASSING: Final = frozenset({408, 425, 429})
_SERVER_FAULT: Final = 500
_STATUS: Final = re.compile(r"error=(\d{3})")


class _Heard(logging.Handler):
    """Keeps what Apprise says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One line of its log."""
        self.lines.append(record.getMessage())


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing: another host is nobody that was meant."""

    def redirect_request(  # noqa: PLR0917 -- urllib's signature
        self, req: object, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """No."""
        del req, fp, code, msg, headers, newurl


def carry(message: Mapping[str, str]) -> str:
    """Try a few times; return why it did not arrive, "" when it did."""
    fault = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        fault, passing = _tell(message) if "title" in message else _ping(message["url"])
        if not fault or not passing:
            break
    return fault


def _tell(message: Mapping[str, str]) -> tuple[str, bool]:
    import apprise  # noqa: PLC0415 -- slow to import, and a ping needs none of it
    from apprise.logger import logger  # noqa: PLC0415 -- see above

    heard = _Heard()
    logger.addHandler(heard)
    logger.propagate = False
    asset = apprise.AppriseAsset(app_id="Daybreak", app_desc="Daybreak", http_redirects=False, storage_mode="memory")
    carrier: Any = apprise.Apprise(asset=asset)
    if not carrier.add(message["url"]) or len(carrier) != 1:
        return "Apprise does not know this kind of address", False
    for service in carrier:
        service.socket_connect_timeout, service.socket_read_timeout = CONNECT_S, READ_S
    try:
        sent = carrier.notify(title=message["title"], body=message["body"], notify_type=message["kind"])
    finally:
        logger.removeHandler(heard)
    if sent:
        return "", False
    said = heard.lines[-1] if heard.lines else "it did not take the message"
    status = _STATUS.search(said)
    return said, status is None or _may_pass(int(status[1]))


def _ping(url: str) -> tuple[str, bool]:
    if not url.startswith(("http://", "https://")):
        return "the address is not http or https", False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    request = urllib.request.Request(url, headers={"User-Agent": "Daybreak"})  # noqa: S310 -- looked at above
    try:
        with opener.open(request, timeout=READ_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        moved = "; it redirects to another address: name the last one" if 300 <= error.code < 400 else ""  # noqa: PLR2004 -- HTTP
        return f"it answered {error.code} {error.reason}{moved}", _may_pass(error.code)
    except (OSError, ValueError) as error:
        return f"no answer: {getattr(error, 'reason', error)}", True
    return "", False


def _may_pass(status: int) -> bool:
    return status in _PASSING or status >= _SERVER_FAULT


def main() -> None:
    """Carry the message of the environment."""
    fault = carry(json.loads(os.environ.pop(VARIABLE)))
    sys.stdout.write(json.dumps({"fault": fault}))


if __name__ == "__main__":
    main()
