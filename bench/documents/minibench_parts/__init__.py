"""What `bench/documents/minibench.py` does: jobs, what came of them, and docs/minibench.md."""
