"""The words of a caption, as the COCO caption evaluation cuts them.

That evaluation runs Stanford's Penn Treebank tokenizer (Java), lower-cases, and drops marks of
punctuation. This does the same to captions in plain Python: clitics are words (`dog 's`, `is n't`),
compounds stay whole (`black-and-white`, `black/white`), abbreviations keep their period, brackets
become `-lrb-` and stay, since the list of what is dropped has them in capitals.

It agrees with the original on ordinary English captions. Emoticons, formulas, markup, an apostrophe
typed as a backtick, `2p.m.` and a single letter that ends a sentence (`plan B. A man`) come out
otherwise.

Source: pycocoevalcap 1.2 with CoreNLP 3.4.1, by its behavior.
"""

from __future__ import annotations

import re

from .ngrams import Words

_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|rev|gen|col|sgt|capt|lt|gov|sen|rep|hon|st|ave|blvd|rd|mt|ft|jr|sr|inc|co|corp|"
    "ltd|bros|etc|vs|dept|est|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|"
    "thur|thurs|fri"
)
_TOKEN = re.compile(
    rf"""
      https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.[\w.]+       # addresses
    | </?[a-z][^<>\s]*>                                       # tags
    | can(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:gim|lem)(?=me\b) | '?t(?=(?:is|was)\b)
    | n't\b | '(?:s|m|d|re|ve|ll)\b | 'n' | 'n\b | y'(?=all\b) # clitics
    | (?<!\d)'\d\ds?\b | [dlo]'[a-z]+ | ma'am\b | 'em\b | ol'(?!\w)    # '90s, o'clock
    | (?:{_ABBREVIATIONS})\.(?!\w) | no\.(?=\s*\d) | (?:[a-z]\.)+(?!\w)
    | \d+(?::\d\d)+ | [$#](?=\d)
    | [a-z]+(?=n't\b)
    | \d+(?:[.,/]\d+)+ | \.\d+
    | [#@]?\w+(?:[-/&.]\w+)*
    | \.{{2,}} | -{{2,}} | [!?]+ | \S
    """,
    re.VERBOSE,
)
_PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "—": "--", "–": "--", "…": "...", "€": "$", "£": "#"}
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_DROPPED = re.compile(r"'+|`+|\"|[.?!,:;]|\.\.+|-+")


def words(text: str) -> Words:
    """The words of a caption, lower case, without punctuation.

    >>> words("A man's dog (black/white) isn't here.")
    ('a', 'man', "'s", 'dog', '-lrb-', 'black/white', '-rrb-', 'is', "n't", 'here')
    """
    found = _TOKEN.findall(text.lower().translate(_PLAIN))
    return tuple(_BRACKETS.get(token, token) for token in found if not _DROPPED.fullmatch(token))
