"""Benchmarks for merged adapters: scores of answers, and which differences are more than chance.

    metrics/    one answer and its references in, a score out; the caption metrics of a whole task
    stats.py    intervals, paired differences, and who beats whom
    item.py     one question about an image
    paper/      the paper's benchmark, on real models
    mini/       the laptop benchmark, which trains its own models
    jobs/       runs that can be stopped and continued, for both benchmarks
    cli/        `robustmerge bench`

Scores of single answers are in percent, 0 to 100.
"""

__version__ = "0.1.0"
