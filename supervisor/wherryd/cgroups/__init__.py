"""Control groups of containers: where they are, how a container's are made, bounded, killed and removed.

tree.py (where this supervisor's groups are, in each hierarchy), group.py (one container's), limits.py (pure:
limits → what is written), checks.py and weights.py (what is refused before anything is made), settling.py and
lifting.py (limits of a running container changed), waiting.py (the event loop's waits on one), spares.py
(groups made ahead).
"""
