"""Containers: what they are made of, what may happen to them, and the task that owns each one's run."""
