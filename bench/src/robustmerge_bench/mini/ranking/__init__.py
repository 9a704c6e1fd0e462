"""Merges of the laptop benchmark compared: families of expert sets, rankings, gates and tables."""
