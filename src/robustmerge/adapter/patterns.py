"""Regular expressions of settings files, matched in a bounded number of steps.

Python's own matcher goes back and tries again, which takes forever for a pattern such as `(a+)+b`,
and a settings file may hold any. Here all positions that a match may have reached are followed at
once, each part of the pattern taking a set of positions to the next one, so that nothing is tried
twice. What remains is counted: a pattern that takes more than a million steps is refused.

The pattern is taken apart by Python's own parser, so that the language is Python's. Not supported
are back references and what forbids to go back (possessive repeats), which need the other matcher.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_parse as parser

_MOST_STEPS = 1_000_000
"""Some seconds; the patterns of published adapters take thousands at most."""
_LONGEST = 100_000  # characters; a list of all modules of a large model, joined by |

_NAMED = {"DIGIT": r"\d", "NOT_DIGIT": r"\D", "SPACE": r"\s", "NOT_SPACE": r"\S"}
_NAMED |= {"WORD": r"\w", "NOT_WORD": r"\W"}
_POSITIONS = {"BEGINNING": "^", "BEGINNING_STRING": r"\A", "END": "$", "END_STRING": r"\Z"}
_POSITIONS |= {"BOUNDARY": r"\b", "NON_BOUNDARY": r"\B"}

Positions = frozenset[int]


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches the beginning of a text, as `re.match` does.

    Raises:
        re.error: the pattern is no regular expression, or takes too many steps.
    """
    tree = _parse(pattern)
    if _is_plain(tree):
        return re.match(pattern, text) is not None
    return bool(_Matcher(text, tree.state.flags).after(tree, frozenset([0])))


def matches_whole(pattern: str, text: str) -> bool:
    """Return whether a pattern matches the whole of a text, as `re.fullmatch` does.

    Raises:
        re.error: the pattern is no regular expression, or takes too many steps.
    """
    if _is_plain(_parse(pattern)):
        return re.fullmatch(pattern, text) is not None
    return len(text) in match_ends(pattern, text)


def match_ends(pattern: str, text: str) -> list[int]:
    """Return every position at which a match from the beginning of a text may end.

    Raises:
        re.error: the pattern is no regular expression, or takes too many steps.
    """
    tree = _parse(pattern)
    return sorted(_Matcher(text, tree.state.flags).after(tree, frozenset([0])))


@lru_cache(maxsize=4096)
def _parse(pattern: str) -> Any:
    if len(pattern) > _LONGEST:
        raise re.error(f"it has {len(pattern)} characters")
    try:
        return parser.parse(pattern)
    except RecursionError:
        raise re.error("it is nested too deeply") from None


def _is_plain(tree: Any) -> bool:
    """Return whether Python's matcher has nothing to try twice: a name, after any beginning.

    So it is for a list of names, which may be thousands.
    """
    nodes = [(str(kind), value) for kind, value in _nodes(tree)]
    kinds = [kind for kind, _ in nodes]
    simple = {"LITERAL", "ANY", "SUBPATTERN", "AT", "MAX_REPEAT", "BRANCH", "IN"}
    repeats = sorted((value for kind, value in nodes if kind == "MAX_REPEAT"), key=lambda v: v[1])
    once = all(most == 1 for _, most, _ in repeats[:-1])  # (...)? around the beginning
    inside = {str(kind) for *_, inner in repeats for kind, _ in _nodes(inner)}
    few = len(repeats) <= 2 and kinds.count("BRANCH") <= 1
    return simple >= set(kinds) and few and once and "BRANCH" not in inside


def _nodes(tree: Any) -> Iterable[tuple[Any, Any]]:
    """Yield all parts of a pattern, those in parts included."""
    for kind, value in tree:
        yield kind, value
        parts = value if isinstance(value, tuple | list) else ()
        for part in parts:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, parser.SubPattern):
                    yield from _nodes(inner)


@dataclass
class _Matcher:
    """One text, with the flags that hold and the steps that were taken."""

    text: str
    flags: int
    steps: int = 0

    def after(self, tree: Any, positions: Positions) -> Positions:
        """Return the positions behind a part of the pattern, from those before it."""
        for kind, value in tree:
            self.steps += len(positions) + 1
            if self.steps > _MOST_STEPS:
                raise re.error(f"it takes more than {_MOST_STEPS} steps")
            if not positions:
                break
            rule = _RULES.get(str(kind))
            if rule is None:
                raise re.error(f"{str(kind).lower()} is not supported here")
            positions = rule(self, value, positions)
        return positions

    def branch(self, value: Any, positions: Positions) -> Positions:
        """Take every alternative."""
        return frozenset().union(*(self.after(tree, positions) for tree in value[1]))

    def group(self, value: Any, positions: Positions) -> Positions:
        """Take a group, in which other flags may hold."""
        _, more, less, tree = value
        before, self.flags = self.flags, (self.flags | more) & ~less
        try:
            return self.after(tree, positions)
        finally:
            self.flags = before

    def repeat(self, value: Any, positions: Positions) -> Positions:
        """Repeat a part until no new position is reached."""
        least, most, tree = value
        for _ in range(min(least, len(self.text) + 2)):  # more reach nothing new
            positions = self.after(tree, positions)
        reached = new = positions
        for _ in range(min(most - least, len(self.text) + 2)):
            new = self.after(tree, new) - reached
            if not new:
                break
            reached |= new
        return reached

    def look(self, value: Any, positions: Positions) -> Positions:
        """Keep the positions at which a part matches ahead or behind."""
        return frozenset(p for p in positions if self._looks(value, p))

    def look_not(self, value: Any, positions: Positions) -> Positions:
        """Keep the positions at which a part does not match ahead or behind."""
        return frozenset(p for p in positions if not self._looks(value, p))

    def _looks(self, value: Any, position: int) -> bool:
        direction, tree = value
        if direction > 0:
            return bool(self.after(tree, frozenset([position])))
        start = position - tree.getwidth()[0]  # Python has lookbehinds of one width only
        return start >= 0 and position in self.after(tree, frozenset([start]))

    def at(self, value: Any, positions: Positions) -> Positions:
        """Keep the positions that are the beginning, the end, or the edge of a word."""
        code = _POSITIONS[str(value).removeprefix("AT_")]
        known = re.compile(code, self.flags & (re.MULTILINE | re.ASCII))
        return frozenset(p for p in positions if known.match(self.text, p))

    def nothing(self, _: Any, positions: Positions) -> Positions:
        """Match nothing, as `(?!)` does."""
        return positions - positions

    def one(self, test: Callable[[str], bool], positions: Positions) -> Positions:
        """Go on by one character that passes a test, in any case if flags say so."""
        ahead = [(p, self.text[p]) for p in positions if p < len(self.text)]
        if not self.flags & re.IGNORECASE:
            return frozenset(p + 1 for p, char in ahead if test(char))
        return frozenset(p + 1 for p, c in ahead if any(map(test, (c, c.lower(), c.upper()))))

    def literal(self, code: int, positions: Positions) -> Positions:
        """Go on by a character."""
        return self.one(lambda char: ord(char) == code, positions)

    def not_literal(self, code: int, positions: Positions) -> Positions:
        """Go on by any other character."""
        return self._others(positions, self.literal(code, positions))

    def any(self, _: Any, positions: Positions) -> Positions:
        """Go on by any character, of which a line's end is one if flags say so."""
        every = bool(self.flags & re.DOTALL)
        return self.one(lambda char: every or char != "\n", positions)

    def among(self, items: Sequence[tuple[Any, Any]], positions: Positions) -> Positions:
        """Go on by a character of a set, or of none of it."""
        negated = str(items[0][0]) == "NEGATE"
        members = items[1:] if negated else items
        reached = self.one(lambda char: any(self._is_in(char, *m) for m in members), positions)
        return self._others(positions, reached) if negated else reached

    def _others(self, positions: Positions, reached: Positions) -> Positions:
        return frozenset(p + 1 for p in positions if p < len(self.text)) - reached

    def _is_in(self, char: str, kind: Any, value: Any) -> bool:
        if str(kind) == "CATEGORY":
            code = _NAMED[str(value).removeprefix("CATEGORY_")]
            return re.match(code, char, self.flags & re.ASCII) is not None
        low, high = value if str(kind) == "RANGE" else (value, value)
        return bool(low <= ord(char) <= high)


_RULES: dict[str, Callable[[_Matcher, Any, Positions], Positions]] = {
    "BRANCH": _Matcher.branch,
    "SUBPATTERN": _Matcher.group,
    "MAX_REPEAT": _Matcher.repeat,
    "MIN_REPEAT": _Matcher.repeat,
    "ASSERT": _Matcher.look,
    "ASSERT_NOT": _Matcher.look_not,
    "AT": _Matcher.at,
    "FAILURE": _Matcher.nothing,
    "LITERAL": _Matcher.literal,
    "NOT_LITERAL": _Matcher.not_literal,
    "ANY": _Matcher.any,
    "IN": _Matcher.among,
}
"""What each kind of part does, by its name in Python's parser."""
