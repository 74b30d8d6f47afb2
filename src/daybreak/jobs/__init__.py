"""The jobs: one file per verb, each read from top to bottom. `run.py` is the engine that records them."""
