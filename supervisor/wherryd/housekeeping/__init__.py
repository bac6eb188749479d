"""Tidying up: what takes room (usage.py; measure.py counts, in its own process), what may go (prune.py)."""
