"""Scores of predictions: by the released scripts' rules, bug for bug, and by corrected ones.

rules.py           the rules of each kind of task; `score`
inputs.py          questions, answers and references of one score
matching.py        which answer belongs to which question
sample_scores.py   from single answers to a score
official.py        the scripts' rules for words, classes and boxes
fixed.py           the corrected ones, and the rule for classes of images
problems.py, captions.py, pope.py, mme.py, mmbench.py    tasks with files of their own format
boxes.py           boxes in several units
chance.py          the score of guessing
protocol_differences.py    why the two protocols differ
"""

from .inputs import Missing
from .rules import score

__all__ = ["Missing", "score"]
