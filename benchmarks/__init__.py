"""Benchmarks: one script a question, this project and its peers measured in the same run.

Each prints one JSON object a line: `bench`, `system`, `metric`, `value` (the median), `unit`,
`min`, `max` and `n`. `--quick` is a smoke run. Machines are noisy: compare rows of one run only.
"""
