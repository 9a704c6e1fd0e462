"""A planted bug: a definition of the code, a piece of it, and what the bug makes of that piece.

The definition is found by its name, wherever it stands: in the file of the entry or, if it has
moved, in any other. The piece is compared without white space, line breaks, comments and trailing
commas, so that reformatting does not matter; and if a name in it does not occur in the definition
any more, another name that stands in its place everywhere is taken for it, so that a renamed
variable does not matter either. The piece must match once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from keyword import iskeyword
from pathlib import Path

_CORE, _BENCH = "src/robustmerge", "bench/src/robustmerge_bench"
_LEXEME = re.compile(r"\w+|[^\w\s]")
_GAP = r"(?:\s|#.*\n)"


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Attributes:
        bug: What is wrong, in words.
        at: The definition, such as "linalg.py::CoreSpace.of": the file below src/robustmerge (or
            bench/ and the file below robustmerge_bench), and the qualified name of the function,
            class or constant in it.
        code: A piece of the definition.
        planted: What the bug makes of it.
        tests: Files, or a file and a -k expression, of which a test must fail.
    """

    bug: str
    at: str
    code: str
    planted: str
    tests: tuple[str, ...]

    def plant(self, root: Path) -> tuple[Path, str]:
        """Return the file of the definition, and its text with the bug.

        Raises:
            LookupError: no piece of the definition matches, or several do
        """
        file, name = self.at.split("::")
        inside = file.removeprefix("bench/")
        path = root / (_CORE if inside == file else _BENCH) / inside
        text = path.read_text("utf-8") if path.exists() else ""
        planted = [(path, bad) for bad in self._planted(text, name)]
        if not planted:
            everywhere = (p for package in (_CORE, _BENCH) for p in (root / package).rglob("*.py"))
            planted = [(p, bad) for p in everywhere for bad in self._planted(p.read_text(), name)]
        if len(planted) != 1:
            others = [other for other in definitions(text) if any(self._planted(text, other))]
            raise LookupError(
                f"{self.bug}: {self.at} contains {self.code!r} {len(planted)} times, not once; "
                f"in this file it is in: {', '.join(others) or 'no definition'}"
            )
        return planted[0]

    def _planted(self, text: str, name: str) -> Iterator[str]:
        """Yield the text with the bug, for each place where it can be planted."""
        for start, end in definitions(text).get(name, ()):
            for match, names in matches(self.code, text[start:end]):
                bug = rename(self.planted, names)
                yield text[: start + match.start()] + bug + text[start + match.end() :]


def matches(code: str, source: str) -> Iterator[tuple[re.Match[str], dict[str, str]]]:
    """Yield the matches of a piece in a source, and the names that some of its names have there."""
    pattern, groups = _pattern(code, set(_LEXEME.findall(source)))
    for match in re.finditer(pattern, source):
        names = {name: match[group] for name, group in groups.items()}
        if len(set(names.values())) == len(names) and not any(map(iskeyword, names.values())):
            yield match, names


def rename(code: str, names: Mapping[str, str]) -> str:
    """Return a piece of code with other names; attributes stay."""
    return re.sub(r"(?<![.\w])[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), code)


def _pattern(code: str, words: set[str]) -> tuple[str, dict[str, str]]:
    """Return a regular expression for the piece, and its groups: of names that are not words."""
    lexemes = _LEXEME.findall(code)
    parts: list[str] = []
    groups: dict[str, str] = {}
    for before, lexeme in zip(["", *lexemes], lexemes, strict=False):
        if before:
            parts.append(_GAP + ("+" if before.isidentifier() and lexeme.isidentifier() else "*"))
        if lexeme in ")]}":
            parts.append(rf"(?:,{_GAP}*)?")
        if not lexeme.isidentifier() or lexeme in words or before == "." or iskeyword(lexeme):
            parts.append(re.escape(lexeme))
        elif lexeme in groups:
            parts.append(rf"\b(?P={groups[lexeme]})\b")
        else:
            groups[lexeme] = f"_{len(groups)}"
            parts.append(rf"\b(?P<{groups[lexeme]}>[A-Za-z_]\w*)\b")
    first, last = (r"\b" if x.isidentifier() else "" for x in (lexemes[0], lexemes[-1]))
    return first + "".join(parts) + last, groups


@lru_cache(maxsize=512)
def definitions(text: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the spans of a file's functions, classes and constants, by their qualified names."""
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    spans: dict[str, tuple[tuple[int, int], ...]] = {}
    for name, node in _definitions(ast.parse(text), ""):
        span = (lines[node.lineno - 1], lines[node.end_lineno or node.lineno])
        spans[name] = (*spans.get(name, ()), span)
    return spans


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield prefix + node.name, node
                yield from _definitions(node, f"{prefix}{node.name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if not isinstance(parent, ast.FunctionDef):
                    yield prefix + name, node
            case ast.stmt() if not isinstance(parent, ast.FunctionDef):
                yield from _definitions(node, prefix)


def plant(bug: str, at: str, code: str, planted: str, *tests: str) -> Mutant:
    return Mutant(bug, at, code, planted, tests)
