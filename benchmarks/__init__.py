"""Speed, as ratios: ``make bench``, or ``python -m benchmarks fanout``; see README.md here."""
