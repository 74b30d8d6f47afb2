"""The console: pages that answer "are we safe?", and the same as JSON.

It reads the catalog and writes nothing but its own database (people, sessions, tokens, audit). Whatever is to be done
is asked of the runner through its socket, in words of a fixed list.

`app.py` is the way in; `world.py` is what every page stands on; `accounts/` knows who may what; `views/` gathers what a
page shows; `asking.py` turns a form into a request for the runner.
"""
