"""Sockets and event loops: how guests reach a phone. The only place that knows either."""
