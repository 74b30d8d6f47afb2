"""The command line: it translates words into calls of `site` and results into text or JSON. It decides nothing."""
