"""Weights, drawings, photographs, tables and fonts that packages ship, pinned by hash."""
