"""Whatever somebody logs in with at the far end of ssh: sshd gives a command to it with `-c`."""

from __future__ import annotations

import shlex
import subprocess
from datetime import timedelta

import pytest
from engines import require

from daybreak.command import SPOKEN
from daybreak.hosts import Host
from daybreak.hosts.shells import in_any_shell, weight
from daybreak.model import Place, SshHost
from daybreak.secret import Secret

VPS = Host(place=Place(ssh=SshHost(name="vps", destination="vps")))
QUOTES = ("it's", 'say "x"', "'\\''", "it''s \\'", "`id`", "$HOME", "$(id)", "^x^y", "!!", "!x")
BACKSLASHES = ("a\\b", "\\", "\\n", "\\c", "\\0101", "%s %b", "%")
OTHERS = ("plain", "", "two words", "{a,b}", "*", "~", "#", "-n", ";", "&", "|", "<", ">", "(", "[", "a\nb", "\n", "\t")
WORDS = (*QUOTES, *BACKSLASHES, *OTHERS, "ü☀\u2028", "\udcff", "it's long, " * 4000)


@pytest.mark.parametrize("shell", ["sh", "bash", "tcsh", "fish"])
def test_every_login_shell_hands_over_the_same_words(shell: str) -> None:
    script = 'printf "%s\\0" "$TOKEN"; for word do printf "%s\\0" "$word"; done; exec cat'
    env = {"TOKEN": Secret("a canary: it's $HOME\\n")}
    command = VPS.command(("sh", "-c", script, "sh", *WORDS), deadline=timedelta(minutes=1), env=env, feed=SPOKEN)
    assert command.far is not None
    secret = b"".join(one.reveal().encode() + b"\n" for one in command.far.lines)
    # As OpenSSH's server does it: the text is one word.
    argv = [require(shell), "-c", command.far.argv[-1]]
    done = subprocess.run(argv, input=secret + b"\0\xff raw\n", capture_output=True, check=False, timeout=60)
    assert done.stderr == b""
    *words, rest = done.stdout.split(b"\0", len(WORDS) + 1)
    assert words == [b"a canary: it's $HOME\\n", *(one.encode("utf-8", "surrogateescape") for one in WORDS)]
    assert rest == b"\0\xff raw\n"
    assert done.returncode == 0


def test_the_weight_of_a_word_is_what_it_adds() -> None:
    for word in WORDS:
        longer = in_any_shell(shlex.join(("true", word)))
        assert len(longer) == len(in_any_shell("true")) + 1 + weight(word)
        assert longer.isascii()
