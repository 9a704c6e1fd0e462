"""VQA accuracy: an answer is right if at least three of ten annotators gave it.

    mean over annotators i of min(1, n_i / 3),   n_i = number of others with the same answer

which leaves each annotator out once, so that annotators and models are measured alike. Answers are
compared after a normalization by fixed rules, those of the evaluation server with its oddities: a
punctuation mark is deleted everywhere if it touches a space once, and else becomes a space;
commas and question marks are deleted, 's is a word of its own, a period stays only before a digit.

Source: Antol et al., VQA, arXiv:1505.00468, and visualqa.org/evaluation; the rules in their common
form, EvalAIAnswerProcessor of facebookresearch/mmf.
"""

from __future__ import annotations

import re

from robustmerge.errors import MergeError

_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBERS.split())}
_ARTICLES = ("a", "an", "the")
_MARKS = ';/[]{}()=+\\_-><@`!"'
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
"""
# How each is written with one apostrophe forgotten; `somebody'd` is the wrong way round there, too.
_WRITTEN = {"somebody'd": "somebodyd"} | {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTIONS.split()
    for i, character in enumerate(word)
    if character == "'"
}


def vqa_accuracy(answer: str, references: tuple[str, ...]) -> float:
    """Return the agreement with annotators' answers, 0 to 100; 0 for an empty answer.

    There is one reference of each annotator: ten in VQA and VizWiz.

    Raises:
        MergeError: Fewer than four references, with which no answer can reach 100.
    """
    annotators = len(references)
    if annotators < 4:
        raise MergeError(
            f"VQA accuracy cannot be computed from {annotators} references",
            where="the answers of the task",
            hint="it takes one answer of each of ten annotators; for fewer, use exact match",
        )
    text = normalized(answer)
    if not text:
        return 0.0
    same = sum(text == normalized(reference) for reference in references)
    left_out = same * min(1.0, (same - 1) / 3) + (annotators - same) * min(1.0, same / 3)
    return 100 * left_out / annotators


def normalized(text: str) -> str:
    """Normalize a text by the evaluation server's rules.

    >>> normalized("The  two dogs, on a mat.")
    '2 dogs on mat'
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = re.sub(r"[\n\t]", " ", text).strip()
    touching = text
    for mark in _MARKS:
        by_a_space = f"{mark} " in touching or f" {mark}" in touching
        text = text.replace(mark, "" if by_a_space else " ")
    words = [_DIGITS.get(word, word) for word in re.sub(r"\.(?!\d)", "", text).split()]
    return " ".join(_WRITTEN.get(word, word) for word in words if word not in _ARTICLES)
