# Verbs for work. `just` alone lists them.
set positional-arguments

python := ".venv/bin/python"

_default:
    @just --list --unsorted

# Install everything that work on Daybreak needs
setup:
    ./run servers

# All tests; arguments go to pytest
test *args:
    ./run test "$@"

# ruff, the floors, the shell scripts
lint:
    .venv/bin/ruff check
    .venv/bin/ruff format --check
    .venv/bin/lint-imports
    .venv/bin/shellcheck run .ci/run tools/lock tests/entrypoint.sh ops/*.sh

# basedpyright, strict
types:
    .venv/bin/basedpyright

# Put the code into its form
fmt:
    .venv/bin/ruff check --fix-only
    .venv/bin/ruff format

# Write requirements/*.txt again; `just lock --upgrade` takes newer versions
lock *args:
    tools/lock "$@"

# The scripts of today against Daybreak; writes docs/benchmarks.md
bench *args:
    {{ python }} bench/bench.py "$@"

# Seven nights off-site: today's way, three others and shards; writes docs/benchmarks-offsite.md
bench-offsite *args:
    {{ python }} bench/offsite.py "$@"

# Kills, overlaps, damage, clients that reconnect; writes docs/campaign.md
campaign *args: nights
    {{ python }} bench/campaign.py "$@"

# Every night of every zone when a clock moved, and 50 slots that three come for at once
nights:
    DAYBREAK_ALL_NIGHTS=1 DAYBREAK_TRIGGERS=50 {{ python }} -m pytest -q tests/schedule --timeout 3600

# 200 nights through a storage that cuts, delays, refuses and lies, and 50 kills of restic; DAYBREAK_SEED repeats one
storms:
    DAYBREAK_STORMS=200 DAYBREAK_RESTIC_KILLS=50 {{ python }} -m pytest -q -s --timeout 14400 tests/restic/test_backlog.py -k "storms or killed"

# Kills of clients, daemons, containers and ssh sessions, ten of each in a dump and in a restore
blows:
    DAYBREAK_BLOWS=10 {{ python }} -m pytest -q -s tests/hosts/test_places_kills.py

# 1 GiB through containers and ssh, as a backup reads it; writes docs/throughput.md
ways *args:
    PYTHONPATH=tests:tests/hosts {{ python }} bench/ways.py "$@"

# The whole path on real servers
demo *args:
    ./run demo "$@"

# Every page of the console in both themes, from the demo's data; writes docs/screens/*.png
screenshots *args:
    {{ python }} bench/screenshots.py "$@"

# Every page of the console with years of history; writes its part of docs/console-speed.md
pages *args:
    PYTHONPATH=tests:tests/console {{ python }} bench/pages.py "$@"

# A backup while 200 follow the console and wrk asks for its pages; writes its part of docs/console-speed.md
gathering *args:
    PYTHONPATH=tests:tests/console {{ python }} bench/gathering.py "$@"

# 100 of every request that the API's document allows, and of those that it does not; DAYBREAK_SEED repeats them
requests:
    DAYBREAK_EXAMPLES=100 {{ python }} -m pytest -q -s --timeout 14400 tests/console/test_console_schemathesis.py

# What the build machine does
ci:
    .ci/run
