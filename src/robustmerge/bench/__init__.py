"""Benchmarks: what answers are worth, and which differences are more than chance.

    metrics/    one answer and its references in, a score out; the caption metrics of a whole task
    stats.py    intervals, paired differences, and who beats whom
    item.py     one question about a picture
    mini/       the laptop benchmark

Scores of single answers are in percent, 0 to 100.
"""
