"""What the parts of bench/documents/analysis.py are: merges taken apart, and what goes with accuracy."""
