"""Results come in the order of the tasks, and what is kept is not made again."""

import pytest

from book.runs import trainings
from book.runs.trainings import trained


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setattr(trainings, "KEPT", tmp_path)
    return tmp_path


def test_what_is_kept_is_not_made_again(kept):
    assert trained(len, ["abc", "a", "ab"], ()) == [3, 1, 2]
    for place in kept.rglob("*.json"):
        place.write_text("7")
    assert trained(len, ["a", "abc"], ()) == [7, 7]
    assert trained(len, ["abcd", "a"], ()) == [4, 7]


def test_other_code_has_another_place(kept):
    trained(len, ["abc"], ())
    trained(len, ["abc"], ("fields.py",))
    assert len(list(kept.rglob("*.json"))) == 2


def test_a_task_that_fails_is_not_kept(kept):
    with pytest.raises(TypeError, match="bad operand"):
        trained(abs, ["abc"], ())
    assert not list(kept.rglob("*.json"))
