"""Real programs that load adapters, each in an environment of its own: `make clients`."""
