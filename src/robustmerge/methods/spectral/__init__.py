"""Subspaces and spectra: singular values, and the directions that adapters share."""
