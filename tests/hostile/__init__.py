"""Calls that a hostile or careless user would make, drawn from a seed, each judged by what it must
not do: crash, hang, raise what names no argument, differ from the reference without a word.

`python -m tests.hostile --count N --seed S --jobs J` runs N of them in processes with limits on
time and memory; `--only K` shows and runs one. Seed and number alone make a call.
"""
