"""How long a reader waits stands at the head of every chapter, in words, from the record."""

import re

import nbformat
import pytest

from book.pages.running_time import in_words
from book.runs import timings
from book.toc import ROOT, notebooks

CHAPTERS = [page for page in notebooks() if page.stem != "intro"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about 10 seconds"),
        (14.9, "about 10 seconds"),
        (16.0, "about 20 seconds"),
        (54.0, "about 50 seconds"),
        (56.0, "about a minute"),
        (89.0, "about a minute"),
        (91.0, "about two minutes"),
        (149.0, "about two minutes"),
        (180.0, "about three minutes"),
    ],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize("seconds", [-1.0, 210.0, float("nan")])
def test_a_duration_that_no_chapter_may_take_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"seconds is .*; expected from 0 to 210"):
        in_words(seconds)


@pytest.mark.parametrize("page", CHAPTERS, ids=str)
def test_every_chapter_shows_the_recorded_time(page, html) -> None:
    first = nbformat.read(ROOT / page, as_version=4).cells[0].source
    assert first.count("{running-time}`here`") == 1
    assert not re.search(r"\b(?:second|minute)s?\b", first), "the role says how long it takes"
    shown = " ".join((html / page.with_suffix(".html")).read_text(encoding="utf-8").split())
    assert in_words(timings.read()[page.as_posix()].quiet_seconds) in shown
