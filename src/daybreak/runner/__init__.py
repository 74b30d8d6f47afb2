"""The runner: root's long-lived Daybreak, which others of the group ask through a socket for a fixed list of things.

`words.py` has the list, `acts.py` does what was asked, `server.py` listens, `client.py` asks, `gate.py` is the end
of a forced command of ssh. Nothing that comes through the socket is a path, a command, an address or an option.
"""
