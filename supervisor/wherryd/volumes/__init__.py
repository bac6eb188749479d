"""Volumes: directories that outlive the containers which mount them.

Supervisor side: store.py (what callers use), known.py (what the database remembers), fill.py (its hold on the
process that fills a new volume from an image).
Process side, shut in with the image and the volume (no trio there): filler.py, tree_copy.py.
"""
