"""The model that is made of pretrained parts, and its training."""
