"""What is asked of restic and what is made of its answers: values only, nothing is started."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daybreak.restic import commands, faults, messages
from daybreak.restic.commands import Access
from daybreak.restic.messages import Entry, Progress, Summary
from daybreak.secret import Secret

ACCESS = Access(
    program="restic",
    env={"RESTIC_REPOSITORY": "s3:http://store/bucket", "AWS_SECRET_ACCESS_KEY": Secret("canary-key")},
    quick=timedelta(seconds=60),
    slow=timedelta(hours=6),
)
ID = "8e2ce4149820a7711c83505444510e34623b26c6e00e1b7ececf169e95620964"


def test_a_backup_names_its_time_in_utc_and_hides_the_keys() -> None:
    command = commands.backup(
        ACCESS,
        [Path("/a/x.dump"), Path("/a/x.dump.json")],
        tags=["daybreak", "plan=nightly"],
        host="db1",
        taken_at=datetime(2026, 3, 8, 3, 0, 5, 999999, tzinfo=ZoneInfo("America/Chicago")),
    )  # fmt: skip -- one line per part reads better

    assert command.argv == (
        "restic",
        "backup",
        "--json",
        "--host",
        "db1",
        "--time",
        "2026-03-08 08:00:05",
        "--tag",
        "daybreak,plan=nightly",
        "--",
        "/a/x.dump",
        "/a/x.dump.json",
    )  # fmt: skip -- see above
    assert command.env["TZ"] == "UTC"
    assert command.deadline == timedelta(hours=6)
    assert "canary" not in command.shown()


def test_a_filter_is_one_list_of_tags() -> None:
    argv = commands.snapshots(ACCESS, tags=["daybreak", "plan=nightly"], host="db1").argv

    assert argv == ("restic", "snapshots", "--json", "--no-lock", "--tag", "daybreak,plan=nightly", "--host", "db1")


def test_forget_takes_ids_and_nothing_else() -> None:
    assert commands.forget(ACCESS, [ID]).argv == ("restic", "forget", "--json", ID)
    with pytest.raises(ValueError, match="without an id"):
        commands.forget(ACCESS, [])
    for name in ("latest", "--keep-last=1", "", "8E2C"):
        with pytest.raises(ValueError, match="not the id"):
            commands.forget(ACCESS, [name])


@pytest.mark.parametrize("tag", ["plan=a,b", ""])
def test_a_tag_that_restic_would_read_as_two_is_a_bug(tag: str) -> None:
    with pytest.raises(ValueError, match="one tag"):
        commands.snapshots(ACCESS, tags=["daybreak", tag])


def test_the_two_ends_of_a_backup() -> None:
    old = (
        '{"message_type":"summary","data_added":3002190,"total_bytes_processed":3000003,"total_duration":0.268,'
        '"snapshot_id":"8e2ce414"}'
    )
    new = old.replace('"data_added"', '"data_added_packed":3002113,"data_added"').replace("8e2ce414", ID)

    assert messages.parse_backup(old) == Summary(
        snapshot="8e2ce414", total_bytes=3000003, added_bytes=3002190, seconds=0.268
    )
    assert messages.parse_backup(new) == Summary(snapshot=ID, total_bytes=3000003, added_bytes=3002113, seconds=0.268)


def test_progress_and_lines_of_no_interest() -> None:
    line = '{"message_type":"status","percent_done":0.5,"total_bytes":200,"bytes_done":100}'

    assert messages.parse_backup(line) == Progress(done_bytes=100, total_bytes=200)
    assert messages.parse_backup('{"message_type":"status","percent_done":0}') == Progress(done_bytes=0, total_bytes=0)
    for other in ('{"message_type":"verbose_status"}', "open repository", "{broken", "[]", ""):
        assert messages.parse_backup(other) is None


def test_snapshots_of_both_restics() -> None:
    old = (
        f'[{{"time":"2026-11-22T22:38:23.614714339-06:00","paths":["/a"],"hostname":"db1","tags":["daybreak","plan=n","archive=1"],"id":"{ID}"}},'
        f'{{"time":"2026-11-20T22:38:23Z","paths":["/b"],"hostname":"x","id":"{ID[::-1]}","summary":{{"total_bytes_processed":7}}}}]'
    )

    foreign, ours = messages.parse_snapshots(old)

    assert (ours.plan, ours.archive, ours.size_bytes) == ("n", "1", None)
    assert ours.taken_at == datetime(2026, 11, 23, 4, 38, 23, 614714, tzinfo=UTC)
    assert (foreign.plan, foreign.tags, foreign.size_bytes) == (None, (), 7)
    assert messages.parse_snapshots("null") == messages.parse_snapshots("[]") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "not JSON",
        '[{"id":"1"}]',
        '[{"id":"","time":"2026-01-01T00:00:00Z"}]',
        '[{"id":"1","time":"never"}]',
        '[{"id":"1","time":"2026-01-01"}]',
    ],
)
def test_an_answer_that_cannot_be_read_is_never_an_empty_list(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        messages.parse_snapshots(text)


@given(st.text())
def test_no_text_breaks_the_readers_with_anything_but_a_value_error(text: str) -> None:
    for parse in (
        messages.parse_backup,
        messages.parse_snapshots,
        messages.parse_ls,
        messages.parse_lock,
        messages.parse_keys,
        messages.parse_config,
        messages.parse_init,
        messages.error_text,
    ):
        try:
            parse(text)
        except ValueError:
            continue


def test_the_files_of_a_snapshot() -> None:
    lines = (
        '{"struct_type":"snapshot","id":"1","time":"2026-01-01T02:03:04Z","hostname":"db1","tags":["plan=n"]}\n'
        '{"name":"a","type":"dir","path":"/a","struct_type":"node"}\n'
        '{"name":"x","type":"file","path":"/a/x","size":5,"struct_type":"node","message_type":"node"}\n'
        '{"name":"empty","type":"file","path":"/a/empty","struct_type":"node"}\n'
    )

    listing = messages.parse_ls(lines)

    assert (listing.snapshot.id, listing.snapshot.host, listing.snapshot.plan) == ("1", "db1", "n")
    assert listing.entries == (
        Entry(path="/a", kind="dir", size_bytes=0),
        Entry(path="/a/x", kind="file", size_bytes=5),
        Entry(path="/a/empty", kind="file", size_bytes=0),
    )


def test_what_both_restics_say_after_init() -> None:
    assert messages.parse_init("created restic repository bdecab828b at s3:x\n\nPlease note") == "bdecab828b"
    assert messages.parse_init(f'{{"message_type":"initialized","id":"{ID}","repository":"s3:x"}}') == ID


OPENING = ("Is there a repository at the following location?", "s3:http://store/bucket/x")
LOCKED = (
    "unable to create lock in backend: repository is already locked exclusively by PID 7091 on db2 by root (UID 0)",
    "lock was created at 2026-11-22 22:43:10 (3.771361366s ago)",
    "storage ID 052f84d2",
    "the `unlock` command can be used to remove stale locks",
)


@pytest.mark.parametrize(
    ("reason", "status", "lines"),
    [
        ("missing", 1, ("Fatal: unable to open config file: Stat: The specified key does not exist.", *OPENING)),
        ("missing", 10, ()),
        ("absent", None, ('Ignoring "aaaaaaaa": no matching ID found for prefix "aaaaaaaa"',)),
        ("absent", 1, ("Load(<snapshot/aaaaaaaaaa>, 0, 0) failed: open /r/snapshots/aa: no such file or directory",)),
        ("absent", 1, ("Fatal: failed to load snapshot 7885f187: open /r/snapshots/7885: no such file or directory",)),
        ("absent", 1, ("Load(<snapshot/aaaaaaaaaa>, 0, 0) failed: The specified key does not exist.",)),
        ("failed", 1, ("Load(<data/aaaaaaaaaa>, 0, 0) failed: open /r/data/aa/aa: no such file or directory",)),
        ("missing", 1, ("Fatal: unable to open config file: Stat: The specified bucket does not exist", *OPENING)),
        ("missing", 1, ("Fatal: unable to open config file: stat /srv/r/config: no such file or directory", *OPENING)),
        ("password", 1, ("Fatal: wrong password or no key found",)),
        (
            "password",
            12,
            ('{"message_type":"exit_error","code":12,"message":"Fatal: wrong password or no key found"}',),
        ),
        ("locked", 1, LOCKED),
        ("locked", 11, ('{"message_type":"exit_error","code":11,"message":"' + "\\n".join(LOCKED) + '"}',)),
        (
            "denied",
            1,
            (
                "Fatal: unable to open config file: Stat: The request signature we calculated does not match.",
                *OPENING,
            ),
        ),
        (
            "denied",
            1,
            (
                "Fatal: unable to open config file: Stat: The Access Key Id you provided does not exist in our list.",
                *OPENING,
            ),
        ),
        ("denied", 1, ("Fatal: unable to open config file: Stat: Encountered an unsupported algorithm.", *OPENING)),
        ("denied", 1, ("Fatal: unable to open repository at s3:x: s3.getCredentials: no credentials found.",)),
        ("denied", 1, ("Save(<data/0123>) failed: client.PutObject: Access Denied.",)),
        ("denied", 1, ("Fatal: server response unexpected: 401 Unauthorized (401)",)),
        ("clock", 1, ("The difference between the request time and the current time is too large.",)),
        (
            "unreachable",
            1,
            (
                'Fatal: unable to open config file: Get "http://x/": dial tcp 127.0.0.1:1: connect: connection refused',
                *OPENING,
            ),
        ),
        (
            "unreachable",
            1,
            (
                'Fatal: unable to open config file: Get "http://x/": dial tcp: lookup x on 1.1.1.1:53: no such host',
                *OPENING,
            ),
        ),
        ("unreachable", 1, ('Fatal: Get "https://x/": x509: certificate has expired or is not yet valid', *OPENING)),
        ("throttled", 1, ("Fatal: unable to open config file: Stat: 503 Service Unavailable", *OPENING)),
        ("partial", 3, ("Warning: at least one source file could not be read",)),
        ("full", 1, ("write /nas/repo/locks/6778-tmp-29: no space left on device", "unable to create lock in backend")),
        ("full", 1, ("Fatal: unable to save snapshot: write /nas/repo/data/f0/f0fa-tmp-31: disk quota exceeded",)),
        ("readonly", 1, ("unable to create lock in backend: open /nas/repo/locks/7-tmp-1: read-only file system",)),
        ("closed", 1, ("Fatal: unable to open config file: stat /nas/repo/config: permission denied", *OPENING)),
        ("denied", 1, ("Fatal: unable to open repository at sftp:x: Permission denied (publickey).",)),
        ("failed", 1, ("Fatal: repository contains errors",)),
        ("failed", 77, ()),
        ("failed", 1, ("unable to open cache: open /var/cache/restic: permission denied", "Fatal: something new")),
    ],
)  # fmt: skip -- one fault a line
def test_each_fault_has_its_reason(reason: str, status: int, lines: tuple[str, ...]) -> None:
    fault = faults.explain("r2", status=status, lines=lines)

    assert fault.reason == reason
    assert fault.exit_code == 14
    assert fault.message.startswith("repository r2: ")
    assert fault.hint


def test_a_lock_names_its_holder_and_its_time() -> None:
    fault = faults.explain("r2", status=11, lines=LOCKED)

    assert "PID 7091 on db2" in fault.message
    assert "lock was created at 2026-11-22 22:43:10" in fault.message


def test_a_deadline_that_passed_is_told_by_the_last_complaint() -> None:
    retry = 'Stat(<config/>) returned error, retrying after 4.07s: Get "http://x/": connect: connection refused'

    assert (
        faults.explain("r2", status=None, lines=[retry], timed_out="restic was not done after 60 s").reason
        == "unreachable"
    )
    silent = faults.explain("r2", status=None, lines=[], timed_out="restic was not done after 60 s")
    assert (silent.reason, silent.message) == (
        "timeout",
        "repository r2: restic was not done in time: restic was not done after 60 s",
    )


def test_a_clock_that_is_wrong_has_its_own_hint() -> None:
    assert (
        "clock"
        in faults.explain("r2", status=1, lines=["RequestTimeTooSkewed: The difference between the request time"]).hint
    )


@pytest.mark.parametrize(
    ("line", "while_creating", "else_"),
    [
        (
            "Stat(<config/>) returned error, retrying after 580.6ms: Stat: The signature we calculated does not match",
            True,
            True,
        ),
        ("Stat(<config/>) returned error, retrying after 1.9s: Stat: The specified bucket does not exist", False, True),
        (
            'Load(<data/0123>, 0, 0) returned error, retrying after 1.3s: Get "http://x/": connection refused',
            False,
            False,
        ),
        ("Save(<data/0123>) returned error, retrying after 1.3s: 503 Service Unavailable", False, False),
        ("The request signature we calculated does not match", False, False),
    ],
)
def test_waiting_is_vain_for_wrong_keys_only(line: str, while_creating: bool, else_: bool) -> None:  # noqa: FBT001 -- a table
    assert faults.vain(line, creating=True) is while_creating
    assert faults.vain(line) is else_


def test_a_restic_that_is_too_old() -> None:
    assert messages.parse_version("restic 0.14.0 compiled with go1.19.8 on linux/amd64") == (0, 14, 0)
    assert messages.parse_version("something else") is None
    assert "0.12.1" in faults.too_old("restic", (0, 12, 1)).message
    assert faults.too_old("restic", None).reason == "tool"
