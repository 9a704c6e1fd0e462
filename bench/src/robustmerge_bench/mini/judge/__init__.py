"""Judging what was kept: tables, comparisons, gates."""
