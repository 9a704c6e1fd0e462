"""Parts of relay_studies.py."""
