"""
Decisions as pure functions: facts (and `now`) go in, a value with its reason comes out; a refusal is falsy.

Nothing in here awaits, reads a clock, draws random bytes or does I/O; `tests/unit/test_core_is_pure.py` reads the
imports.
"""
