"""Sums: a coefficient for every adapter."""
