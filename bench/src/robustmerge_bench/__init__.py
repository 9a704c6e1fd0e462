"""Benchmarks for merged adapters: scores of answers, and which differences are more than chance.

    metrics/    one answer and its references in, a score out; the caption metrics of a whole task
    stats.py    intervals, paired differences, and who beats whom
    item.py     one question about an image
    paper/      the paper's benchmark, on real models
    mini/       the laptop benchmark, which trains its own models
    jobs/       runs that can be stopped and continued, for both benchmarks
    cli/        `robustmerge bench`

Scores of single answers are in percent, 0 to 100.

Merges are made by `robustmerge.merge`, or by a recipe where modules have settings of their own, and
adapters are read by `robustmerge.load`. OFFERED in tests/test_architecture.py lists the modules of
robustmerge that this package imports.
"""

__version__ = "0.1.0"
