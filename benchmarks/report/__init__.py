"""``docs/performance.md`` and its plots, made of a result: ``python -m benchmarks.report``."""
