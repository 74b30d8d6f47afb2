"""Tell restic's faults apart. Pure.

Shapes  exit status and the last lines of stderr → one `OffsiteError`; one retry line → whether waiting is vain.
Errors  made, never raised, here.
Source  exit statuses 10, 11, 12 since 0.17; before, and for everything that a server says, the words decide:
        those of restic, of Go's network library, and of S3 (codes from Amazon's list, sentences as rclone,
        MinIO and R2 send them). What nobody knows is `failed`: an unknown status counts as failure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Final

from daybreak.errors import OffsiteError
from daybreak.restic.messages import Lock, error_text
from daybreak.units import show_duration, show_instant

#: The oldest restic that is promised to work.
OLDEST: Final = (0, 14, 0)

#: The words of each reason; the first match counts. Server trouble comes before the second `missing`, because
#: 0.14 ends every failed opening with "Is there a repository at the following location?".
_WORDS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("password", ("wrong password or no key found", "resolving password failed", "empty password")),
    ("format", ("unsupported repository version", "repository version .* (is )?not supported")),
    ("locked", ("already locked", "unable to create lock in backend: repository")),
    ("full", ("no space left on device", "disk quota exceeded")),
    ("readonly", ("read-only file system",)),
    # Of a folder of this host; what a server refuses names no path.
    ("closed", (r"\b(open|mkdir|l?stat|write|rename|remove|unlink|chmod|readdirent) \S*/\S*: permission denied",)),
    (
        "clock",
        (
            "RequestTimeTooSkewed",
            "difference between the request time",
            "RequestExpired",
            "certificate has expired or is not yet valid: current time .* is before",
        ),
    ),
    ("expired", ("ExpiredToken", "TokenRefreshRequired", "(token|key|credentials?) (has|have|is) expired")),
    (
        "denied",
        (
            "InvalidAccessKeyId",
            "access key id you provided does not exist",
            "SignatureDoesNotMatch",
            "signature we calculated does not match",
            "Access ?Denied",
            "AuthorizationHeaderMalformed",
            "unsupported algorithm",  # what rclone says to empty keys
            "no credentials found",
            "InvalidToken",
            "Forbidden",
            r"\(40[13]\)",
            r"\b40[13] (Unauthorized|Forbidden)",
            "permission denied",
            "Host key verification failed",
        ),
    ),
    ("missing", ("bucket does not exist", "NoSuchBucket")),
    ("absent", ("no matching ID found", r"load(\(<| )snapshot\b.*(no such file|not exist|not found)")),
    (
        "throttled",
        (
            "SlowDown",
            "reduce your request rate",
            "Too ?Many ?Requests",
            "Service ?Unavailable",
            r"\((429|503)\)",
            r"\b(429|503) [A-Z]",
        ),
    ),
    (
        "trouble",
        (
            "Internal ?(Server ?)?Error",
            "NotImplemented",
            "implies functionality that is not implemented",
            "expected element type",  # a success whose body is an error
            r"\((5\d\d)\)",
            r"\b5\d\d [A-Z]",
        ),
    ),
    (
        "unreachable",
        (
            "dial tcp",
            "connection (refused|reset)",
            "no such host",
            "server misbehaving",
            "no route to host",
            "network is unreachable",
            "i/o timeout",
            "TLS handshake",
            "x509:",
            "tls:",
            "certificate",
            r"Client\.Timeout",
            "context deadline exceeded",
            "unexpected EOF",
            ": EOF",
            "unable to start the sftp session",
            'error executing "rclone',
        ),
    ),
    ("missing", ("Is there a repository at the following location", "repository does not exist")),
    (
        "partial",
        (
            "at least one source file could not be read",
            "does not exist, skipping",
            "all (source|target) (directories|paths|files).* do not exist",
        ),
    ),
)
_BY_WORDS: Final = tuple((reason, re.compile("|".join(words), re.IGNORECASE)) for reason, words in _WORDS)
_BY_STATUS: Final = {10: "missing", 11: "locked", 12: "password", 3: "partial"}
_RETRY: Final = re.compile(r"returned error, retrying after [^:]+: (?P<why>.+)")
#: Lines that explain nothing: restic works without its cache, and says farewell when it is ended.
_ASIDE: Final = re.compile(r"unable to open cache|context canceled")
#: From here on restic tells only that it was ended.
_FAREWELL: Final = re.compile(r"signal \w+ received")
#: What only a person or another clock can mend: trying again and again is vain.
_VAIN: Final = frozenset({"denied", "expired", "clock", "format", "full", "readonly", "closed"})
#: Where in its source an older restic was; of these it says more than of what went wrong.
_FRAME: Final = re.compile(r"\t\S+:\d+|(main|runtime|\S+/\S+)\.\S+")
#: What says that something stands as it was although it should be gone.
_STANDS: Final = re.compile(
    r"unable to remove|Remove\(<.*returned error|failed to remove|blob not removed", re.IGNORECASE
)

_SAID: Final = {
    "missing": "there is no repository",
    "absent": "there is no such snapshot",
    "locked": "the repository is locked by somebody else",
    "password": "the repository's password is wrong",
    "denied": "the storage refuses the keys",
    "full": "there is no room left",
    "readonly": "it is on a file system that is read-only",
    "closed": "this user may not use the repository's files",
    "expired": "the keys have expired",
    "clock": "this machine's clock and the storage's are too far apart",
    "format": "the repository is of a newer format than this restic knows",
    "throttled": "the storage asks for fewer requests",
    "trouble": "the storage has trouble of its own",
    "retained": "the storage keeps what was to be deleted",
    "damaged": "the repository is damaged",
    "unreachable": "the storage cannot be reached",
    "partial": "restic could not read everything that was to be sent",
    "timeout": "restic was not done in time",
    "failed": "restic failed",
}

_HINTS: Final = {
    "missing": "look at the address; if the repository is really new: `daybreak repository init {name}`,"
    " then `daybreak ship`",
    "absent": "`daybreak repository snapshots {name}` lists what there is",
    "locked": "wait for the other restic to end, then `daybreak ship`; if none is running anywhere,"
    " `daybreak repository unlock {name}` says what can be done",
    "password": "look at the password source of repository {name}:"
    " a repository keeps the password that it was made with",
    "denied": "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in env_file of repository {name},"
    " and at the key's rights, then `daybreak ship`",
    "full": "make room where that file stands (the repository's disk, or that of restic's temporary files), then"
    " `daybreak ship`",
    "readonly": "look why (dmesg) and mount it for writing, then `daybreak ship`; a service of systemd writes only"
    " where its unit says: `daybreak systemd install` again",
    "closed": "give all files in it to the user that runs Daybreak (chown -R), then `daybreak ship`: what restic stores"
    " as root, after one `sudo daybreak` for example, is root's alone",
    "expired": "make new keys at the storage's provider, put them into env_file of repository {name}, then"
    " `daybreak ship`",
    "clock": "set this machine's clock (is NTP running?), then `daybreak ship`",
    "format": 'install a newer restic, or name one: restic = "/path" in [repositories.{name}]',
    "throttled": "nothing is to be done once; if it goes on, look at the provider's limits, or set limit_upload."
    " The archive here is safe",
    "trouble": "look at the provider's status page; the next night sends what is missing. The archive here is safe",
    "retained": "that is what an append-only storage is for; forget and prune with other keys, from elsewhere",
    "damaged": "docs/repositories.md has the steps; `daybreak repository check {name} --read 100%` looks at all of it",
    "unreachable": "look at the address, the network and the storage's state, then `daybreak ship`;"
    " the archive here is safe",
    "partial": "look whether somebody removes files below .daybreak/ship or the disk fails, then `daybreak ship`",
    "timeout": "raise the repository's deadline if it was only slow, then `daybreak ship`:"
    " what was sent is not sent again",
    "failed": "`daybreak repository check {name}` looks at the repository, then `daybreak ship`",
}


def explain(repository: str, *, status: int | None, lines: Sequence[str], timed_out: str = "") -> OffsiteError:
    """The fault behind an exit status (None: restic was stopped) and the last lines that restic said.

    `timed_out`: the words of the deadline that passed. What restic last complained of then is the reason.
    """
    said_until_then = takewhile(lambda line: not _FAREWELL.search(line), lines)
    texts = [
        text
        for line in said_until_then
        for text in error_text(line).splitlines()
        if text.strip() and not _ASIDE.search(text)
    ]
    said = "\n".join(texts)
    reason = _BY_STATUS.get(status or 0) or _reason(said) or ("timeout" if timed_out else "failed")
    detail = _detail(reason, texts) or timed_out
    if reason in {"denied", "closed"} and _STANDS.search(said):
        reason = "retained"
    what = _SAID[reason] + (f" (exit status {status})" if reason == "failed" and status is not None else "")
    message = f"repository {repository}: {what}" + (f": {detail}" if detail else "")
    return OffsiteError(message, hint=_HINTS[reason].format(name=repository), reason=reason)


def stands(repository: str, lines: Sequence[str]) -> OffsiteError | None:
    """The fault behind a forget or prune that ended well, and could not remove what it was to remove.

    Newer restics say so on stderr only: their exit status is 0.
    """
    return explain(repository, status=None, lines=lines) if any(_STANDS.search(line) for line in lines) else None


def damaged(repository: str, what: str) -> OffsiteError:
    """A check found damage."""
    return OffsiteError(
        f"repository {repository}: {_SAID['damaged']}: {what}",
        hint=_HINTS["damaged"].format(name=repository),
        reason="damaged",
    )


def vain(line: str, *, creating: bool = False) -> bool:
    """Whether restic goes on trying what no patience will mend: wrong keys, no such bucket.

    `creating`: a missing bucket is what `init` is about to mend.
    """
    retry = _RETRY.search(line)
    reason = _reason(retry["why"]) if retry else None
    return reason in _VAIN or (reason == "missing" and not creating)


def is_frame(line: str) -> bool:
    """Whether a line is of a trace through restic's source: it explains nothing, and pushes out what does."""
    return _FRAME.fullmatch(line) is not None


def no_restic(program: str) -> OffsiteError:
    """restic is not installed."""
    return OffsiteError(
        f"the program {program} is not there",
        hint='install it: apt install restic; or set restic = "/path" for the repository',
        reason="tool",
    )


def too_old(program: str, version: tuple[int, int, int] | None) -> OffsiteError:
    """restic is older than what is promised, or not restic at all."""
    found = "did not say its version" if version is None else f"is version {'.'.join(map(str, version))}"
    return OffsiteError(
        f"{program} {found}, and Daybreak needs restic {'.'.join(map(str, OLDEST))} or newer",
        hint='install a newer restic and set restic = "/path" for the repository',
        reason="tool",
    )


def not_understood(repository: str, error: ValueError) -> OffsiteError:
    """restic ended well and said something that we cannot read."""
    return OffsiteError(
        f"repository {repository}: restic's answer cannot be read: {error}",
        hint="call restic by hand with --json and look at what it says; a wrapper script may add words of its own",
        reason="failed",
    )


def held(repository: str, locks: Sequence[Lock], fault: OffsiteError, *, at: datetime) -> OffsiteError:
    """A lock was waited for in vain: who holds it, and for how long."""
    if not locks:  # the last one went while we looked
        return fault
    shown = "; ".join(show_lock(lock, at) for lock in locks)
    return OffsiteError(
        f"repository {repository}: {_SAID['locked']}: {shown}",
        hint=_HINTS["locked"].format(name=repository),
        reason="locked",
    )


def show_lock(lock: Lock, at: datetime) -> str:
    """A lock for people: `PID 7091 on db2, since 2026-11-22 22:43:10 CET (3 m 05 s), exclusive`."""
    age = show_duration(max(0.0, (at - lock.made_at).total_seconds()))
    kind = ", exclusive" if lock.exclusive else ""
    return f"PID {lock.pid} on {lock.host}, since {show_instant(lock.made_at)} ({age}){kind}"


def unreadable_lock(repository: str, lock: str, url: str) -> OffsiteError:
    """A lock that is empty or damaged: restic cannot remove it, and nobody can tell whose it is."""
    return OffsiteError(
        f"repository {repository}: {_SAID['locked']}: lock {lock} cannot be read (empty, or damaged)",
        hint="1. see that no restic works on this repository, on any host; 2. with the storage's own tools delete the"
        f" object locks/{lock} below {url}, and nothing else; 3. `daybreak repository check {repository}`",
        reason="locked",
    )


def _reason(text: str) -> str | None:
    return next((reason for reason, words in _BY_WORDS if words.search(text)), None)


def _detail(reason: str, texts: Sequence[str]) -> str:
    """The line that a person should read: for a lock who holds it and since when, else the telling one."""
    fatal = [text for text in texts if text.startswith("Fatal:")]
    words = [text for text in texts if _reason(text) == reason]
    telling = (fatal or words if reason == "missing" else words or fatal) or list(texts)
    if not telling:
        return ""
    line = telling[-1]
    if reason == "locked":
        since = next((text for text in texts if text.startswith("lock was created at")), "")
        line = f"{line}, {since}" if since else line
    retry = _RETRY.search(line)
    return (retry["why"] if retry else line.removeprefix("Fatal: ")).strip()
