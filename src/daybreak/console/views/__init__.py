"""What each page shows: pure functions over a `Look`, at its instant; the same records go out as JSON.

Shapes  frozen records of plain values, so that a template, the API and its documentation have one source. A `tone` says
        how a thing is meant: ok, warning, failed, running, none; a page gives each an icon and a word.
"""
