"""The network process: the one that speaks to the kernel of links, addresses, routes, rules and flows.

A process of its own: these modules are imported there, and block. The supervisor's hand on it is helper.py.
"""
