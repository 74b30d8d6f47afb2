"""systemd: what `serve` tells it while it runs, and the units that it is started by."""
