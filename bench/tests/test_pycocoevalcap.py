"""The caption metrics beside pycocoevalcap's own, on the same words."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustmerge_bench.metrics import java
from robustmerge_bench.metrics.meteor import meteor, meteor_rows
from robustmerge_bench.metrics.ptb import words
from robustmerge_bench.paper.figures import FIGURES, caption_metrics
from robustmerge_bench.paper.scoring import score
from robustmerge_bench.paper.scoring.captions import rows_of
from robustmerge_bench.paper.tasks import TASKS

pytest.importorskip("pycocoevalcap")
TEXT = """
    a man is riding the brown horse on beach big red car parked in street two dogs run snow with
    frisbee woman holds an umbrella near tall building at night
"""
WORDS = TEXT.split()


def pairs(seed: int, n: int) -> list[tuple[str, tuple[str, ...]]]:
    """Captions made of words that no tokenizer cuts, with one to five references; some empty."""
    drawn = random.Random(seed)

    def text(least: int = 1) -> str:
        return " ".join(drawn.choices(WORDS, k=drawn.randint(least, 14)))

    made = []
    for _ in range(n):
        references = tuple(text() for _ in range(drawn.randint(1, 5)))
        near = references[0].split()
        near[drawn.randrange(len(near))] = drawn.choice(WORDS)
        made.append((" ".join(near) if drawn.random() < 0.7 else text(0), references))
    return made


@pytest.mark.parametrize(("seed", "n"), [(0, 2), (1, 60), (2, 300)])
def test_bleu_rouge_and_cider_are_theirs(seed: int, n: int) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    captions = pairs(seed, n)
    theirs: dict[str, Any] = {}
    said = {i: [caption] for i, (caption, _) in enumerate(captions)}
    right = {i: list(references) for i, (_, references) in enumerate(captions)}
    bleu, _ = Bleu(4).compute_score(right, said, verbose=0)
    theirs |= {f"Bleu_{k}": value for k, value in enumerate(bleu, 1)}
    theirs["ROUGE_L"], rouge = Rouge().compute_score(right, said)
    theirs["CIDEr"], cider = Cider().compute_score(right, said)
    rows = rows_of(captions, split_by_java=False, meteor=False)
    ours = caption_metrics(rows.sum(axis=0)[None], np.array([n]))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert float(ours[name][0]) == pytest.approx(float(value), abs=1e-12), name
    assert rows[:, 10] == pytest.approx(rouge, abs=1e-12)
    assert rows[:, 11] == pytest.approx(cider, abs=1e-12)
    mean = FIGURES["captions"](rows.sum(axis=0)[None], np.array([n]))
    assert float(mean[0]) == pytest.approx(100 * np.mean(list(theirs.values())), abs=1e-10)
    assert n == 2 or theirs["CIDEr"] > 0.1


# a man rides horses; dogs playing in snow quickly; nothing; hello there; the red automobile
COUNTS = [
    [4, 9, 1, 4, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 3],
    [5, 6, 1, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 4],
    [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [4, 6, 1, 2, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 3, 4],
]
SCORES = [0.1771754544916002, 0.345966504180779, 0.0, 0.0, 0.30737344662037125]
SAME = [2, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2]


def floats(*lines: list[int]) -> list[list[float]]:
    return [list(map(float, line)) for line in lines]


def test_meteor_from_its_counts() -> None:
    """Counts and scores as METEOR 1.5 printed them, of single captions and of five together."""
    table = meteor_rows(floats(*COUNTS, SAME))
    assert meteor(table) == pytest.approx([*SCORES, 1.0], abs=1e-15)
    assert meteor(table[:5].sum(axis=0)[None]) == pytest.approx([0.21723240538773905], abs=1e-15)


def test_meteor_of_nothing_in_common() -> None:
    one_sided = [*COUNTS[3]]
    one_sided[4] = 1  # found in the caption alone
    assert meteor(meteor_rows(floats(one_sided, COUNTS[2]))).tolist() == [0, 0]


@pytest.mark.slow
@pytest.mark.skipif(bool(java.missing_software()), reason="java is not installed")
def test_meteor_of_drawn_sets_is_javas() -> None:
    captions = [*pairs(3, 40), ("a dog", ("a dog",)), ("", ("a dog",))]
    counts = java.count_matches(captions)
    table = meteor_rows(counts)
    drawn = [random.Random(i).choices(range(len(captions)), k=25) for i in range(5)]
    drawn.append(list(range(len(captions))))
    asked = [
        "EVAL ||| " + " ||| ".join(" ".join(map(str, counts[i])) for i in each) for each in drawn
    ]
    command = ("-Xmx2G", "-jar", java._METEOR, "-", "-", "-stdio", "-l", "en", "-norm")
    told = iter(map(float, java._run(*command, lines="\n".join(asked))))
    for each in drawn:
        alone = [next(told) for _ in each]
        assert meteor(table[each]) == pytest.approx(alone, abs=1e-12)
        assert meteor(table[each].sum(axis=0)[None]) == pytest.approx([next(told)], abs=1e-12)
    assert meteor(table)[-2:].tolist() == [1, 0]


THEIRS = """
import json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
said, right = json.load(sys.stdin)
said = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in enumerate(said)})
right = PTBTokenizer().tokenize({i: [{"caption": c} for c in cs] for i, cs in enumerate(right)})
found = {f"Bleu_{k}": v for k, v in enumerate(Bleu(4).compute_score(right, said, verbose=0)[0], 1)}
for name, scorer in ("METEOR", Meteor()), ("ROUGE_L", Rouge()), ("CIDEr", Cider()):
    found[name] = float(scorer.compute_score(right, said)[0])
print("found", json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(java.missing_software()), reason="java is not installed")
def test_the_official_score_is_that_of_their_evaluation(tmp_path: Path) -> None:
    """Everything but SPICE, which the released scripts drop, with marks and capitals."""
    captions = [
        (f"{c.capitalize()}, isn't it?", (*[f"The {r} (No. {i})." for r in rs], 'A dog\'s - "toy"'))
        for i, (c, rs) in enumerate(pairs(4, 50))
    ]
    asked = json.dumps([[c for c, _ in captions], [list(rs) for _, rs in captions]])
    done = subprocess.run(
        [sys.executable, "-Wignore", "-c", THEIRS],
        input=asked, capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("found "))
    theirs = json.loads(line.removeprefix("found "))
    questions = [{"question_id": i, "text": "what?"} for i in range(50)]
    images = [{"id": i + 1} for i in range(50)]
    said = [{"question_id": i, "text": c} for i, (c, _) in enumerate(captions)]
    annotations = [
        {"image_id": i + 1, "caption": r} for i, (_, rs) in enumerate(captions) for r in rs
    ]
    for name, content in (
        ("q.json", questions),
        ("r.json", {"images": images, "annotations": annotations}),
        ("p.json", said),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    ours = score(
        TASKS["vizwiz"], tmp_path / "q.json", tmp_path / "p.json",
        protocol="official", references=tmp_path / "r.json",
    )  # fmt: skip
    assert ours.missing == ()
    assert ours.parts == pytest.approx({k: 100 * v for k, v in theirs.items()}, abs=1e-10)
    assert ours.value == pytest.approx(100 * np.mean(list(theirs.values())), abs=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(bool(java.missing_software()), reason="java is not installed")
def test_words_are_cut_as_in_java() -> None:
    texts = [
        "A man's dog isn't here, it's there.", "", "Two (2) dogs; one [big] dog...",
        "black-and-white t-shirt!", 'a can of Campbell\'s soup\nwith "label"', "?", "",
    ]  # fmt: skip
    assert java.tokenize(texts) == [words(text) for text in texts]
