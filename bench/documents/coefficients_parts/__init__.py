"""Parts of coefficients.py."""
