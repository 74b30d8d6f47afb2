"""The command line: it translates words into calls of `site` and results into text or JSON. It decides nothing."""

import gc

# So many new objects before somebody looks for garbage among them: what imports make is none. First of all, for it is a
# tenth of `--help`.
gc.set_threshold(50_000)
