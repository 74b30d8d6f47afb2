"""The doctor: every piece of the chain by itself, with how bad it is and what mends it. `exam.py` is the way in.

Looking and judging are apart: `judge_…` functions are pure, the rest reads, dials, and changes nothing.
"""
