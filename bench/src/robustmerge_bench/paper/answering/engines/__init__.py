"""Engines: a model in this process, a server."""
