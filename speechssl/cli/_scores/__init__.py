"""Kinds of scores: modules with `SUMMARY`, `add_arguments(parser)` and `run(args) -> int`, as verbs have them.

Nothing is registered: a public module here is a kind of `speechssl score`.
"""
