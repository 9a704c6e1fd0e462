"""Scores of single answers, and metrics of sets of captions.

    exact_match        exact.py       the same words
    letter_match       letter.py      the same option
    vqa_accuracy       vqa.py         agreement with ten annotators
    box_match          boxes.py       boxes that overlap by more than half
    sentence_score     captions.py    one caption: the mean of BLEU-1 to 4 and ROUGE-L
    caption_metrics    captions.py    a whole task: BLEU-1 to 4, ROUGE-L, CIDEr
    meteor             meteor.py      a whole task, from counts of a Java program (java.py)

All but the last two take an answer and its references, and give 0 to 100, 0 for an empty answer.
References are a tuple, so that a string is not taken for the list of its characters.
"""

from .boxes import box_match
from .captions import caption_metrics, sentence_score
from .exact import exact_match
from .letter import letter_match
from .vqa import vqa_accuracy

__all__ = [
    "box_match",
    "caption_metrics",
    "exact_match",
    "letter_match",
    "sentence_score",
    "vqa_accuracy",
]
