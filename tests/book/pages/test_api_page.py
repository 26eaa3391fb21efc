"""The API pages, one a room: every public name is there, and says what it takes, returns and refuses."""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import physgrad_tf
from book.toc import docnames

ROOMS = [importlib.import_module(f"physgrad_tf.{room}") for room in physgrad_tf.__all__]
NAMES = [(room.__name__, name) for room in ROOMS for name in room.__all__]
OBJECTS = [(room, name) for room, name in NAMES if callable(getattr(importlib.import_module(room), name))]


def find(room, name):
    return getattr(importlib.import_module(room), name)


def functions(room, name):
    """The function itself, or the public methods that a class writes; a protocol's methods included."""
    found = find(room, name)
    if inspect.isfunction(found):
        return [(name, found)]
    members = inspect.getmembers(found, inspect.isfunction) if inspect.isclass(found) else []
    own = [(member, f) for member, f in members if (f.__module__ or "").startswith("physgrad_tf")]
    return [(f"{name}.{member}", f) for member, f in own if not member.startswith("_")]


def documentation(room, name, function):
    """The docstring, and those that its reader is sent to: functions it names, its class, the protocol of the room."""
    own = inspect.getdoc(function) or ""
    module = importlib.import_module(room)
    named = [getattr(module, other, None) for other in re.findall(r"`(\w+)`", own) if other in module.__all__]
    docs = [own, *(inspect.getdoc(other) or "" for other in named)]
    if inspect.isclass(find(room, name)):
        protocols = [p for _, p in inspect.getmembers(module, inspect.isclass) if getattr(p, "_is_protocol", False)]
        methods = [f for protocol in protocols for _, f in inspect.getmembers(protocol, inspect.isfunction)]
        docs += [inspect.getdoc(other) or "" for other in [find(room, name), *methods]]
    return "\n".join(docs)


def sections(doc):
    return {line.rstrip(":") for line in doc.splitlines() if line in {"Args:", "Returns:", "Raises:", "Yields:"}}


def raises(function):
    """Whether the body itself raises; helpers that raise for it are not looked into."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def test_the_rooms_export_names():
    assert NAMES
    assert all(room.__doc__ for room in ROOMS)


def test_nothing_is_exported_twice():
    names = [name for _, name in NAMES]
    assert sorted(names) == sorted(set(names))


OVERVIEW = "chapters/closing/api"


def page_of(room):
    return f"{OVERVIEW}/{room.removeprefix('physgrad_tf.')}"


def test_every_room_has_its_page_below_the_overview():
    """Where a room is added: a page `chapters/closing/api/ROOM.md`, a line of `_toc.yml`, a section of the overview."""
    listed = docnames()
    below = [name for name in listed if name.startswith(f"{OVERVIEW}/")]
    assert sorted(below) == sorted(page_of(room.__name__) for room in ROOMS)
    start = listed.index(OVERVIEW) + 1
    assert listed[start : start + len(below)] == below


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def entry(html: Path):
    """Finds the entry of a name on the page of its room."""
    return lambda room, name: soup(html / f"{page_of(room)}.html").find("dt", id=f"{room}.{name}")


def test_the_overview_says_what_every_room_and_every_name_is_for(html):
    listed = {}
    for section in soup(html / f"{OVERVIEW}.html").select("article section section"):
        room = section.select_one("h2 + p")
        page = str(room.select_one("a")["href"])
        assert len(room.get_text().split()) >= 6, f"{room.get_text()}: what is it for?"
        for item in section.select("li"):
            link = item.find("a")
            line = item.get_text().removeprefix(link.get_text()).removeprefix(":")
            assert 3 <= len(line.split()) <= 25, f"{item.get_text()}: one line"
            listed[str(link["href"])] = link.get_text()
            assert str(link["href"]).startswith(f"{page}#"), f"{link.get_text()} stands under another room"
    wanted = {f"api/{room.removeprefix('physgrad_tf.')}.html#{room}.{name}": name for room, name in NAMES}
    assert listed == wanted


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_name_is_on_the_page(entry, room, name):
    found = entry(room, name)
    assert found is not None, f"{room}.{name} has no entry on the page of its room"
    description = found.find_next_sibling("dd")
    assert description is not None
    assert len(description.get_text().split()) >= 3, f"{room}.{name} is listed but not described"


@pytest.mark.parametrize(("room", "name"), OBJECTS)
def test_docstring_has_its_sections(room, name):
    found = find(room, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        doc = found.__doc__ or ""
        assert doc.strip(), f"{room}.{name} has no docstring"
        assert not doc.startswith(f"{name}("), f"{room}.{name} has only the docstring that dataclasses make"
    for label, function in functions(room, name):
        assert inspect.getdoc(function), f"{label} has no docstring"
        doc = documentation(room, name, function)
        signature = inspect.signature(function)
        parameters = [p for p in signature.parameters.values() if p.name not in {"self", "cls"}]
        assert all(p.annotation is not p.empty for p in parameters), f"{label}: an argument without a type"
        assert signature.return_annotation is not signature.empty, f"{label}: no return type"
        missing = [p.name for p in parameters if not re.search(rf"\b{p.name}\b", doc)]
        assert missing == [], f"{label}: no docstring that its reader is sent to mentions {missing}"
        if inspect.isfunction(find(room, name)):
            expected = {"Args"} if parameters else set()
            expected |= {"Returns"} if signature.return_annotation not in {None, "None"} else set()
            assert expected <= sections(doc), f"{label}: no section {expected - sections(doc)}"
        if raises(function):
            assert "Raises" in sections(inspect.getdoc(function) or ""), f"{label} raises and does not say so"


@pytest.mark.parametrize("room", [room.__name__ for room in ROOMS])
def test_every_signature_shows_its_arguments(html, room):
    """The base classes of Keras take anything, and would be shown so."""
    entries = soup(html / f"{page_of(room)}.html").find_all("dt", id=True)
    vague = [entry["id"] for entry in entries if "(*args, **kwargs)" in entry.get_text()]
    assert not [name for name in vague if not name.endswith(PASSED_ON)]


@pytest.mark.parametrize(("room", "name"), OBJECTS)
def test_every_signature_shows_its_defaults(entry, room, name):
    found = find(room, name)
    is_made = inspect.isclass(found) and not issubclass(found, Exception) and name not in PROTOCOLS
    if is_made or inspect.isfunction(found):
        shown = [each.get_text() for each in entry(room, name).select(".sig-param")]
        parameters = inspect.signature(found).parameters.values()
        defaults = [f"{p.name}={p.default!r}" for p in parameters if p.default is not p.empty]
        assert [text for text in shown if "=" in text] == defaults


PROTOCOLS = ("Simulator", "InvertibleSimulator")
METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
#: Methods that hand all arguments on to those of Keras, which their docstrings name; protocols, which are never made.
PASSED_ON = tuple(f".{name}" for name in (*METHODS, *PROTOCOLS))
