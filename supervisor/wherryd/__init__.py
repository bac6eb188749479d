"""The supervisor: starts containers, records every byte they print and every way they end.

Imports of this package must stay cheap: the launcher process imports it too.
"""

__version__ = "0.1.0"
