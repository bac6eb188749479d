"""The relay: moves bytes between published ports and containers where the kernel's rules cannot.

A process of its own (process.py, loop.py, tcp.py, udp.py), and the supervisor's hand on it (handle.py).
"""
