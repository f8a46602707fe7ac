"""Benchmarks, each measured side by side in one run; `make bench` runs `step` and `throughput`."""
