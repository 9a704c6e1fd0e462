"""Captions: the mean of BLEU-1 to 4, METEOR, ROUGE-L and CIDEr, each times 100.

    references    {"images": [{"id": 1, "file_name": "x.jpg"}, …],
                   "annotations": [{"image_id": 1, "caption": "a dog"}, …]}

The released scripts ignore ids: line k of the answers is the caption of image k, and images must be
numbered from 1 in the order of the questions. The fixed rule matches answers to questions by id,
and questions to images by file name, or by position where images have no names.

METEOR requires Java. Where that, or the extra `captions`, is not installed, the value is the mean
of the six others, and the score lists METEOR as missing.

The official rule splits captions into words with the Java tokenizer if that is installed, and else,
as the fixed rule always does, with `metrics/ptb.py`, which splits ordinary captions the same way.

Source: llava/eval/eval_{caption,flickr30k,vizwiz_caption}.py of AuroraZengfh/RobustMerge, which
calls pycocoevalcap 1.2, the caption evaluation of COCO.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from robustmerge.errors import MergeError, reading, shown

from ...metrics import java
from ...metrics.bleu import Matches
from ...metrics.cider import cider
from ...metrics.meteor import meteor_rows
from ...metrics.ngrams import Words
from ...metrics.ptb import words
from ...metrics.rouge import rouge_l
from ..figures import caption_metrics
from ..score import Protocol, Score
from .inputs import ScoringInput
from .matching import match_answers
from .sample_scores import SampleScore, score_from_rows


@dataclass(frozen=True)
class CaptionedImage:
    """An image and its reference captions.

    Attributes:
        name: Of its file, without folders; '' if the references have no file names.
        captions: Those written by people, five or so.
    """

    id: int
    name: str
    captions: tuple[str, ...]


def official(inputs: ScoringInput) -> Score:
    """Take line k of the answers for the caption of image k.

    Raises:
        MergeError: Images that are not numbered 1 to N, or another number of answers than N: the
            script ends with an error, too.
    """
    path = inputs.required_references()
    images = read_images(path)
    _check_numbers(images, path)
    if len(inputs.predictions) != len(images):
        raise MergeError(
            f"{len(inputs.predictions)} captions for {len(images)} images",
            where=f"{inputs.predictions[-1].where}: the last one\n{path}",
            hint="the official script takes line k for image k, and needs all of them; "
            "--protocol fixed --missing wrong takes the others for empty",
        )
    samples = [SampleScore(p.id, 0.0, p.text) for p in inputs.predictions]
    return _score(inputs, "official", samples, images)


def fixed(inputs: ScoringInput) -> Score:
    """Match answers to questions by id, and questions to images by file name."""
    path = inputs.required_references()
    images = _images_of_questions(inputs, read_images(path), path)
    samples = [SampleScore(question.id, 0.0, text) for question, text in match_answers(inputs)]
    return _score(inputs, "fixed", samples, images)


def read_images(path: Path) -> list[CaptionedImage]:
    """Read the images with their captions; captions of unlisted images do not count."""
    with reading(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
        images = [(int(i["id"]), str(i.get("file_name") or "")) for i in content["images"]]
        written: dict[int, list[str]] = {number: [] for number, _ in images}
        for annotation in content["annotations"]:
            number, caption = int(annotation["image_id"]), str(annotation["caption"])
            written.setdefault(number, []).append(caption)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MergeError(
            f"no references for captions: {error!r:.100}",
            where=str(path),
            hint='{"images": [{"id": 1}, …], "annotations": [{"image_id": 1, "caption": "…"}, …]}',
        ) from None
    for number, _ in images:
        if not any(map(words, written[number])):
            raise MergeError(
                f"image {number} has no caption",
                where=str(path),
                hint="every image of the references needs one with a word in it",
            )
    return [CaptionedImage(n, PurePosixPath(name).name, tuple(written[n])) for n, name in images]


def _check_numbers(images: Sequence[CaptionedImage], path: Path) -> None:
    """Check that images are numbered from 1."""
    numbers = [image.id for image in images]
    wrong = [(k, number) for k, number in enumerate(sorted(numbers), 1) if k != number]
    if wrong:
        raise MergeError(
            f"the images are not numbered 1 to {len(images)}: for {wrong[0][0]} there is "
            f"{wrong[0][1]}",
            where=str(path),
            hint="line k of the answers is taken for image k, so that numbers must be positions",
        )


def _images_of_questions(
    inputs: ScoringInput, images: Sequence[CaptionedImage], path: Path
) -> list[CaptionedImage]:
    """Return the image of every question, by its file name or else by its position."""
    by_name = {_without_prefix(image.name): image for image in images}
    names = [
        _without_prefix(PurePosixPath(question.image or "").name) for question in inputs.questions
    ]
    known = [name in by_name for name in names]
    if all(known) and len(by_name) == len(images) and "" not in by_name:
        return [by_name[name] for name in names]
    if any(known) and not all(known):
        question = inputs.questions[known.index(False)]
        raise MergeError(
            f"the references have no image {shown(question.image)}",
            where=f"{question.where}\n{path}",
            hint="are these the references of these questions?",
        )
    if len(images) != len(inputs.questions):
        raise MergeError(
            f"{len(images)} images for {len(inputs.questions)} questions",
            where=f"{path}\n{inputs.file}",
            hint="are these the references of these questions?",
        )
    _check_numbers(images, path)
    return sorted(images, key=lambda image: image.id)


def _without_prefix(name: str) -> str:
    """Return a file's name without the prefix that some copies of the data have."""
    return name.removeprefix("test_")


def _score(
    inputs: ScoringInput,
    protocol: Protocol,
    samples: Sequence[SampleScore],
    images: Sequence[CaptionedImage],
) -> Score:
    if not images:
        raise MergeError("there are no images", where=str(inputs.required_references()))
    ordered = sorted(images, key=lambda image: image.id) if protocol == "official" else images
    pairs = list(
        zip([sample.text for sample in samples], [i.captions for i in ordered], strict=True)
    )
    no_java = java.missing_software()
    rows = rows_of(pairs, split_by_java=protocol == "official" and not no_java, meteor=not no_java)
    metrics = caption_metrics(rows.sum(axis=0)[None], np.array([len(rows)]))
    parts = {name: 100 * float(values[0]) for name, values in metrics.items()}
    return score_from_rows(
        inputs,
        protocol,
        "captions",
        samples,
        rows,
        parts=parts,
        missing=["METEOR"] if no_java else [],
    )


def rows_of(
    captions: Sequence[tuple[str, tuple[str, ...]]], *, split_by_java: bool, meteor: bool
) -> Float[np.ndarray, "captions columns"]:
    """Return the rows of the figure `captions`: 12 columns, or 19 with METEOR's.

    Cost: 0.5 ms a caption with five references, and some 20 s once for METEOR.
    """
    texts = [text for answer, references in captions for text in (answer, *references)]
    split = iter(java.tokenize(texts) if split_by_java else map(words, texts))
    pairs = [(next(split), tuple(next(split) for _ in references)) for _, references in captions]
    counted = [Matches.of(*pair) for pair in pairs]
    columns = [
        np.array([(*m.matched, *m.total, m.length, m.closest) for m in counted], float),
        np.array([[rouge_l(*pair) for pair in pairs], cider(pairs)]).T,
    ]
    if meteor:
        columns.append(meteor_rows(java.count_matches([_joined(*pair) for pair in pairs])))
    return np.hstack(columns)


def _joined(caption: Words, references: tuple[Words, ...]) -> tuple[str, tuple[str, ...]]:
    return " ".join(caption), tuple(map(" ".join, references))
