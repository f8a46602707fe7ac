"""Costs, measured side by side in one run; `make bench` runs `step` and `throughput`, each of the others by name."""
