"""Weights in 4 and 8 bit as the numbers that they stand for: one file per family of formats.

The arithmetic of every format is open and some lines long, so that no library of kernels is
needed to read one; each is compared with the library that writes it.
"""

from .view import Dequantized, dequantized

__all__ = ["Dequantized", "dequantized"]
