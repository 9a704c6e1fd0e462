"""The adapter on disk: names, settings, tensors, reading and writing."""
