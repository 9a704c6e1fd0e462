"""What the parts of benchmarks/analysis.py are: merges taken apart, and what goes with accuracy."""
