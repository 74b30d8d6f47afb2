"""Real servers to throw away: PostgreSQL and S3, for the demo, the drills, the tests and the bench.

    scratch.py    a folder that the servers' user can reach, removed afterwards, leftovers too
    binaries.py   where server programs are: the project's own tools folder, then the system
    cluster.py    one PostgreSQL server: initdb, start, stop
    s3.py         one S3 server with keys of its own: rclone serve s3

Nothing here survives the program that started it: servers run under the watchdog of `process.Runner`.
"""
