"""Examining models: merges made, questions asked, scores kept."""
