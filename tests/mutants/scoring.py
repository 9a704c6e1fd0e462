"""Bugs in the scoring of the paper's benchmark."""

from __future__ import annotations

from mutant import Mutant, plant as _plant

_FOLDER = "bench/tests/paper/scoring"


def _rule(bug: str, at: str, code: str, planted: str, test: str) -> Mutant:
    return _plant(bug, f"bench/paper/scoring/{at}", code, planted, f"{_FOLDER}/{test}.py")


SCORING = (
    # Official rules, bug for bug
    _rule(
        "official is kind to spaces",
        "official.py::_equal",
        "text.upper() == answer.upper()",
        "text.strip().upper() == answer.upper()",
        "test_official",
    ),
    _rule(
        "official finds no class in an empty answer",
        "official.py::classes.right",
        " or text.upper() in answer.upper()",
        "",
        "test_official",
    ),
    _rule(
        "official matches classes by id",
        "official.py::classes",
        "match_by_line(inputs), right",
        "match_by_id(inputs), right",
        "test_official",
    ),
    _rule(
        "official keeps the last digit of a box",
        "official.py::cut_box",
        "[1:-1].split",
        "[1:].split",
        "test_official",
    ),
    _rule(
        "half is more than half",
        "official.py::box",
        "max(image_size(question))) > 0.5",
        "max(image_size(question))) >= 0.5",
        "test_official",
    ),
    _rule(
        "of several answers to a problem the first counts",
        "problems.py::official",
        "{prediction.id: prediction for prediction in inputs.predictions}",
        "{p.id: p for p in reversed(inputs.predictions)}",
        "test_problems",
    ),
    _rule(
        "The answer is B needs a period",
        "problems.py::_SENTENCE",
        "The answer is ([A-Z]).",
        "The answer is ([A-Z])\\.",
        "test_problems",
    ),
    _rule(
        "official captions go by the order of numbers in the file",
        "captions.py::_score",
        'protocol == "official" else images',
        "False else images",
        "test_captions",
    ),
    _rule(
        "an empty answer is no",
        "pope.py::official_yes",
        'not {"No", "not", "no"} & set',
        'not {"No", "not", "no", ""} & set',
        "test_pope",
    ),
    _rule(
        "MME reads the whole answer",
        "mme.py::official_yes",
        "text.lower()[:4]",
        "text.lower()",
        "test_mme",
    ),
    # Which answer belongs to which question
    _rule(
        "of questions with one id the first counts",
        "matching.py::match_by_id",
        "for question in inputs.questions}\n    pairs",
        "for question in reversed(inputs.questions)}\n    pairs",
        "test_official",
    ),
    _rule('3 is "3"', "matching.py::match_by_id", "= lambda id: id", "= str", "test_official"),
    _rule(
        "a truncated run is scored",
        "matching.py::match_answers",
        'inputs.missing == "refuse"',
        "False",
        "test_fixed",
    ),
    _rule(
        "ids may always repeat",
        "matching.py::_by_unique_id",
        "keys(ids) if inputs.task.repeated_ids else ids",
        "keys(ids)",
        "test_fixed",
    ),
    _rule(
        "empty answers are unparsable, too",
        "sample_scores.py::score_from_rows",
        " and not blank for",
        " for",
        "test_fixed",
    ),
    # The right rules
    _rule(
        "nothing is equal to nothing",
        "fixed.py::same",
        'plain(text) == plain(answer) != ""',
        "plain(text) == plain(answer)",
        "test_fixed",
    ),
    _rule(
        "a list of classes names the right one",
        "fixed.py::classes",
        "named == {_class_of(question)}",
        "_class_of(question) in named",
        "test_fixed",
    ),
    _rule(
        "a bow tie is a tie",
        "fixed.py::find_classes",
        'padded = padded.replace(f" {name} ", " | ")',
        "pass",
        "test_fixed",
    ),
    _rule(
        "annotators' answers do not count",
        "fixed.py::vqa",
        "if annotators:",
        "if False:",
        "test_fixed",
    ),
    _rule(
        "thousandths are of the square",
        "boxes.py::to_square",
        "(w / 1000, h / 1000)",
        "(side / 1000, side / 1000)",
        "test_boxes",
    ),
    _rule(
        "the first of several boxes", "boxes.py::find_box", "len(boxes) == 1", "boxes", "test_boxes"
    ),
    _rule(
        "a tenth decides on the unit",
        "boxes.py::detect_unit",
        "0.9 * len(boxes)",
        "0.1 * len(boxes)",
        "test_boxes",
    ),
    _rule(
        "a missing METEOR goes without saying",
        "captions.py::_score",
        'missing=["METEOR"] if no_java else []',
        "missing=[]",
        "test_captions",
    ),
    _rule(
        "neither yes nor no is no",
        "pope.py::YesNoAnswer.counted",
        "(not self.right) if self.yes is None",
        "False if self.yes is None",
        "test_pope",
    ),
    _rule(
        "one right answer is a pair",
        "mme.py::QuestionPair.points",
        "+ min(scores)",
        "+ max(scores)",
        "test_mme",
    ),
    _rule(
        "any order of the options will do",
        "mmbench.py::_score",
        "min(sample.score for sample in samples)",
        "max(sample.score for sample in samples)",
        "test_mmbench",
    ),
    _rule(
        "guessing is among questions",
        "chance.py::chance_among_classes",
        "100 / len(classes)",
        "100 / len(questions)",
        "test_official",
    ),
    # Figures
    _plant(
        "a perfect caption is a chunk",
        "bench/metrics/meteor.py::meteor_rows",
        "np.where(same, 0, chunks)",
        "chunks",
        "bench/tests/test_pycocoevalcap.py",
    ),
    _plant(
        "points are averaged over subtasks",
        "bench/paper/figures.py::points",
        "means.sum(axis=1) * of.shape[1]",
        "means.sum(axis=1)",
        "bench/tests/paper/test_score.py",
    ),
    _plant(
        "hits count once in F1",
        "bench/paper/figures.py::f1",
        "whole = 2 * hits + wrong",
        "whole = hits + wrong",
        "bench/tests/paper/test_score.py",
    ),
)
