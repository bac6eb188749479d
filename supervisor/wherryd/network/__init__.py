"""Bridge networks: who is on which, with what address, and the kernel's links, routes and rules for it.

service.py is the one entrance for the rest of the supervisor. What is said to the kernel is said by a process
of its own (process/, asked through helper.py): netlink waits for locks of the kernel's for milliseconds,
and pyroute2 alone would double the supervisor's memory.
"""
