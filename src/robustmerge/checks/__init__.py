"""Checks of adapters: what they are, how they compare, whether a base and a runtime take them."""
