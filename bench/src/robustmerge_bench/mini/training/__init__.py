"""Training: a vision tower, a language model on it, and experts on both."""
