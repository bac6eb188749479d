"""The files of containers: archives of their roots, what they changed, and copies in and out.

Supervisor side: doors.py and committing.py (what callers use), viewing.py, instructions.py.
Worker side, in a process of its own that sees nothing but the container's files (no trio there): worker.py,
view.py, walk.py, tarsink.py, tarheader.py, output.py, changes.py, treesink.py, places.py, copies.py,
refused.py.
Between the two: job.py and records.py.
"""
