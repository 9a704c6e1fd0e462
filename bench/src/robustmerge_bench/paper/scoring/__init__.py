"""What predictions are worth: by the released scripts, bug for bug, and as it should be.

rules.py       which rule applies: `score`
inputs.py      questions, answers and references of one scoring
matching.py    which answer belongs to which question
sample_scores.py    from single answers to a score
official.py    the scripts' rules for words, classes and boxes
fixed.py       the right ones
labels.py      classes of pictures
problems.py, captions.py, pope.py, mme.py, mmbench.py    tasks whose files are their own
boxes.py       boxes in several units
chance.py      what guessing gets
protocol_differences.pywhy the two protocols differ
"""

from .inputs import Missing
from .rules import score

__all__ = ["Missing", "score"]
