"""Images: from a reference to read-only directories that a container's root is mounted from.

Supervisor side: store.py (what callers use), reference.py (what they get), names.py, known.py, layers.py,
archives.py, flights.py, extraction.py, directories.py, host.py, trees.py.
Worker side, in a process of its own that can reach nothing but the layer it makes (no trio there):
worker.py, confine.py, feed.py, decompress.py, tar.py, header.py, pax.py, sparse.py, entries.py, extract.py.
Between the two: records.py.
"""
