"""The packages that the second world is made of: what they are, and how they come here."""
