"""What a deployment needs beside the program: the server's folders, scripts and keys, and workflows that call it.

`workflows.py` and `scripts.py` make texts, `keys.py` edits a file of authorized keys, `pieces.py` has the parts of a
server and how each is looked at and made, `server.py` says which of them a configuration asks for.
"""
