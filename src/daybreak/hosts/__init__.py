"""Where a command runs: here, in a container (docker or podman), over ssh, and any nesting of them.

- host.py: a host, and how a command gets to it
- ssh.py: one connection for many sessions, and what went wrong with the OpenSSH client
- container.py: which runtime knows a container, the state it is in, what it mounts
- reach.py: a place that a command can be sent to, or the reason why not
- tools.py: which PostgreSQL tools a host has, and what a container's environment says
- place.py: a file of ours, readable on a host: through a mount, or as a copy
"""

from daybreak.hosts.host import HERE, Host
from daybreak.hosts.place import Placed, placed, sweep_copies
from daybreak.hosts.reach import explain, reach
from daybreak.hosts.ssh import shared
from daybreak.hosts.tools import Survey, survey

__all__ = ["HERE", "Host", "Placed", "Survey", "explain", "placed", "reach", "shared", "survey", "sweep_copies"]
