"""The kernel's own interface: system calls, mounts, cgroups, namespaces, pidfds, capabilities.

Synchronous, standard library only, no policy: nothing here knows what a container is.
The only package of wherry that uses ctypes. Imports stay cheap, because the launcher,
which forks every container, imports most of it.
"""
