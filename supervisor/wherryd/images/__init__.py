"""Images: from a reference to read-only directories that a container's root is mounted from.

Supervisor side: store.py (what callers use), reference.py (what they get), names.py, places.py, known.py;
shelf.py over layers.py and catalog.py (what is on disk); archives.py, loading.py, committing.py, saving.py
(in and out), flights.py, extraction.py, directories.py, host.py, trees.py.
Worker side, in processes of their own that can reach nothing but the layer they make (no trio there):
worker.py, confine.py, feed.py, decompress.py, tar.py, header.py, pax.py, sparse.py, entries.py, extract.py,
whiteouts.py, split.py, blobs.py, manifests.py; packer.py, which reads layers and writes an archive.
Between the two: records.py, configs.py, broken.py.
"""
