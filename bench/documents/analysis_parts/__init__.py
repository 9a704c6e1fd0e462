"""Parts of analysis.py: merges measured and diagnosed, and what goes with accuracy."""
