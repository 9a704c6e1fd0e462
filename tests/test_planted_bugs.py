"""The list of planted bugs is in step with the code; `make mutants` plants them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "mutants"))

from mutant import plant
from planted import PLANTED, Mutant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda m: m.bug.replace(" ", "-"))
def test_it_can_be_planted(mutant: Mutant) -> None:
    file, text = mutant.plant(ROOT)
    assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(file.read_text(encoding="utf-8")))
    paths = [t for t in mutant.tests if t.startswith(("tests/", "bench/tests/"))]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


def write(root: Path, file: str, code: str) -> None:
    path = root / "src/robustmerge" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


MEAN = plant(
    "no mean", "sums.py::Mean.of", "sum(values) / len(values)", "sum(values)", "tests/sums"
)
WRITTEN = "class Mean:\n    def of(self, values):\n        return sum(values) / len(values)\n"


@pytest.mark.parametrize(
    ("code", "planted"),
    [
        (WRITTEN, "return sum(values)\n"),
        (WRITTEN.replace(" / len", " / (\n  len").replace("s)\n", "s,\n)  # T\n)\n"), None),
        (WRITTEN.replace("(values) /", "(\n    values,  # [task]\n) /"), "return sum(values)\n"),
        (WRITTEN.replace("values", "numbers"), "return sum(numbers)\n"),
        (WRITTEN.replace("sum(values)", "sum(numbers)"), None),
        (WRITTEN + "def of(values):\n    return sum(values) / len(values)\n", "sum(values)\n"),
        (WRITTEN.replace("return", "yield sum(values) / len(values)\n        return"), None),
        (WRITTEN.replace("of(", "mean("), None),
    ],
    ids=["as is", "parentheses", "wrapped", "renamed", "two names", "two of", "twice", "no of"],
)
def test_only_the_names_and_tokens_of_the_definition_matter(
    tmp_path: Path, code: str, planted: str | None
) -> None:
    write(tmp_path, "sums.py", code)
    if planted is None:
        with pytest.raises(LookupError):
            MEAN.plant(tmp_path)
    else:
        _, text = MEAN.plant(tmp_path)
        assert planted in text
        assert text.count("len") == code.count("len") - 1


def test_a_definition_may_move_to_another_file(tmp_path: Path) -> None:
    write(tmp_path, "sums.py", "")
    write(tmp_path, "means/arithmetic.py", WRITTEN)
    file, _ = MEAN.plant(tmp_path)
    assert file.name == "arithmetic.py"
