"""What is counted, for who collects metrics: OpenMetrics over HTTP on a Unix socket or a loopback port.

address.py (where, and the listening socket), server.py (HTTP: h11 on trio), page.py (from counts to the text,
by prometheus_client), exporter.py (one supervisor's page, when somebody asks). Nothing of this but address.py
is imported unless it was asked for.
"""
