"""Gradient steps after a merge: the adapters' own answers are distilled into the merged adapter."""
