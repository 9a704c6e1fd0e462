"""The world: what there is in it, how it looks, and what can be asked about it."""
