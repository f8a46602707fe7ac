"""Costs, measured: what a step of each method takes, and what the embedded data sets are worth."""
