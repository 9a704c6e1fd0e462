"""The words of a caption, split as in the COCO caption evaluation.

That evaluation runs Stanford's Penn Treebank tokenizer (Java), lower-cases, and drops marks of
punctuation. This does the same to captions in plain Python: clitics are words (`dog 's`, `is n't`),
compounds stay whole (`black-and-white`, `black/white`), abbreviations keep their period, brackets
become `-lrb-` and stay, since the list of dropped tokens has them in capitals.

It agrees with the original on ordinary English captions. Emoticons, formulas, markup, an apostrophe
typed as a backtick, `2p.m.` and a single letter that ends a sentence (`plan B. A man`) come out
otherwise.

Source: pycocoevalcap 1.2 with CoreNLP 3.4.1, by its behavior.
"""

from __future__ import annotations

import re

from .ngrams import Words

_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn asst atty aug ave bhd bldg blvd brig bros capt cf cie
    cmdr co col colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb
    fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lt ltd
    maj mar md mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct
    okla penn pfc ph plc ppte ppty pres prof pte ptes pty ptys pvt rd rep reps rev rt sen sens
    sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs tue tues univ va vs vt wed
    wis wisc wm wyo
"""
_TOKEN = re.compile(
    rf"""
      https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.[\w.]+     # addresses
    | </?[a-z][^<>\s]*>                                     # tags
    | can(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:gim|lem)(?=me\b)
    | '?t(?=(?:is|was)\b) | y'(?=all\b)                     # two words written as one
    | n't\b | '(?:s|m|d|re|ve|ll)\b | 'n' | 'n\b            # clitics
    | (?<!\d)'\d\ds?\b                                      # '90s
    | [dlo]'[a-z]+ | ma'am\b | 'em\b | ol'(?!\w)            # o'clock
    | (?:{"|".join(_ABBREVIATIONS.split())})\.(?!\w) | no\.(?=\s*\d) | (?:[a-z]\.)+(?!\w)
    | \d+(?::\d\d)+ | [$#](?=\d) | \d+(?:[.,/]\d+)+ | \.\d+ # 10:30, $5, 1,000
    | [a-z]+(?=n't\b)
    | [#@]?\w+(?:[-/&.]\w+)*                                # words and compounds
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
    """Split a caption into words, in lower case and without punctuation.

    >>> words("A man's dog (black/white) isn't here.")
    ('a', 'man', "'s", 'dog', '-lrb-', 'black/white', '-rrb-', 'is', "n't", 'here')
    """
    tokens = _TOKEN.findall(text.lower().translate(_PLAIN))
    return tuple(_BRACKETS.get(token, token) for token in tokens if not _DROPPED.fullmatch(token))
