"""The API page: every public name of the package is there, and says what it takes, returns and refuses."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import physgrad_tf

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


@pytest.fixture(scope="session")
def page(html: Path) -> BeautifulSoup:
    return BeautifulSoup((html / "chapters/closing/api.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_name_is_on_the_page(page, room, name):
    entry = page.find("dt", id=f"{room}.{name}")
    assert entry is not None, f"{room}.{name} has no entry on the API page"
    description = entry.find_next_sibling("dd")
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


def test_every_signature_shows_its_arguments(page):
    """The base classes of Keras take anything, and would be shown so."""
    vague = [entry["id"] for entry in page.find_all("dt", id=True) if "(*args, **kwargs)" in entry.get_text()]
    assert not [name for name in vague if not name.endswith(PASSED_ON)]


METHODS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
#: Methods that hand all arguments on to those of Keras, which their docstrings name; protocols, which are never made.
PASSED_ON = tuple(f".{name}" for name in (*METHODS, "Simulator", "InvertibleSimulator"))
