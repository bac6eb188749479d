"""`wherryd --doctor`: looks whether containers can run on this machine, and says what to do if not.

finding.py      what a look comes to
trial.py        a try of something real, in a process and namespaces of its own
host.py, groups.py, disk.py, packets.py, limits.py      the looks, by what they look at
examine.py      all of them, in order

It works with no supervisor, and beside a running one. Must leave everything as it was: what is tried is tried
in namespaces and directories that are gone afterwards.
"""
