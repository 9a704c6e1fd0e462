"""How captions are cut: every line as the Java tokenizer of pycocoevalcap 1.2 cut it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from robustmerge_bench.metrics.ptb import words

CUT = {
    "A man's dog isn't here, it's there.": "a man 's dog is n't here it 's there",
    "can't, won't, cannot; I'm, we're, they've": "ca n't wo n't can not i 'm we 're they 've",
    "A black/white dog - well-known, 10-year-old": "a black/white dog well-known 10-year-old",
    "Two (2) dogs [sitting] {here} on <mat>.": (
        "two -lrb- 2 -rrb- dogs -lsb- sitting -rsb- -lcb- here -rcb- on <mat>"
    ),
    "He said \"hello there\" and 'bye' now.": "he said hello there and bye now",
    "the dogs' toys; James' hat": "the dogs toys james hat",
    "Mr. Smith and Dr. Jones at St. James St.": "mr. smith and dr. jones at st. james st.",
    "etc. The U.S. is big. In the U.S.": "etc. the u.s. is big in the u.s.",
    "p.m. at 10:30 and 3.5 and 1,000 and 1/2 and 50% and $5.99 and #1": (
        "p.m. at 10:30 and 3.5 and 1,000 and 1/2 and 50 % and $ 5.99 and # 1"
    ),
    "100km/h 6'2\" 3x4 2-3 1990s '90s 20's": "100km/h 6 2 3x4 2-3 1990s '90s 20 's",
    "hello... wait.... and — dash – dash -- two": "hello wait and dash dash two",
    "visit www.example.com or http://a.b/c or me@x.com": (
        "visit www.example.com or http://a.b/c or me@x.com"
    ),
    "gonna gotta wanna gimme lemme 'tis 'twas ol' 'em": (
        "gon na got ta wan na gim me lem me 't is 't was ol' 'em"
    ),
    "red & blue AT&T = C * d @ home": "red & blue at&t = c * d @ home",
    "no. 5 vs. other ave. no. yes.": "no. 5 vs. other ave. no yes",
    "wow!!! really??? yes!? no!": "wow !!! really ??? yes !? no",
    "“quoted” ‘single’ it’s": "quoted single it 's",
    "rock 'n' roll o'clock t-shirt y'all let's ma'am": (
        "rock 'n' roll o'clock t-shirt y' all let 's ma'am"
    ),
    "naïve café 日本 résumé €5 £5 5°": "naïve café 日本 résumé $ 5 # 5 5 °",
    "first_second file.txt a.b.c 1.2.3 8:00am 7pm": "first_second file.txt a.b.c 1.2.3 8:00 am 7pm",
    "hello.World cat,dog;x:y": "hello.world cat dog x y",
    "shouldn't've who's 42nd #hashtag @user": "should n't 've who 's 42nd #hashtag @user",
    "": "",
    "!": "",
}


@pytest.mark.parametrize(("text", "cut"), CUT.items())
def test_cut_as_in_java(text: str, cut: str) -> None:
    assert " ".join(words(text)) == cut


@given(st.lists(st.text("abcdefghijklmnopqrsuvwxyz", min_size=2), max_size=6))
def test_plain_words_stay(plain: list[str]) -> None:
    plain = [word + "q" for word in plain]  # no contraction, no abbreviation
    assert words(" ".join(plain).upper() + ".") == tuple(plain)


@given(st.text(max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    cut = words(text)
    assert all(cut)
    assert not any(c.isspace() for word in cut for c in word)
