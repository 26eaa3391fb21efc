"""The runs under other settings: they reach the kernel from outside, do something, and are recorded as they were."""

import dataclasses
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import digests
from book.checks.nbval_tolerance import IGNORE, same_order
from book.records import claims_of
from book.runs import settings, timings
from book.runs.execute import execute
from book.runs.margins import margins_of
from book.runs.settings import BASE, SETTINGS, ClaimRun, NoEffect, Record, Run, Setting
from book.toc import ROOT, notebooks

RUN = Run(
    date="2026-11-25",
    seconds=1.0,
    digest="abc",
    environment=timings.Environment({"processor": "a"}, {"python": "3"}),
    claims=[ClaimRun("G1", 2.0, {"ratio": 4.0}), ClaimRun("G2", None, {})],
    failed={"cell-1": "ValueError: no"},
    seen={"cell-2": ["1.0", "2e-3"], "cell-3": None},
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A book of one chapter that draws numbers and makes a claim; it ran once, which takes seconds."""
    folder = tmp_path_factory.mktemp("book")
    chapter = folder / "chapters" / "one.ipynb"
    chapter.parent.mkdir()
    (folder / "_toc.yml").write_text("format: jb-book\nroot: chapters/one\n", encoding="utf-8")
    (folder / "chapters" / "closing").mkdir()
    cells = [
        new_markdown_cell("# One"),
        new_code_cell("", metadata={"tags": ["set-up"]}),
        new_code_cell("x = np.random.default_rng(0).normal(size=1000)\nprint(x[:3])"),
        new_code_cell(
            "layer = keras.layers.Dense(3)\nlayer.build((None, 2))\n"
            "print(f'{float(tf.reduce_sum(layer.kernel)):.8f}')\n"
            "print(tf.random.stateless_uniform([2], [0, 1]).numpy())"
        ),
        new_code_cell(
            "claim('G1', 'The mean is small.', check=below(abs(x.mean()), 0.2), verdict='holds',\n"
            "      measured={'mean': abs(x.mean())})"
        ),
        new_code_cell("for _ in range(1 + (x[0] > 1.0)):\n    print('a word that hangs on the draw')"),
    ]
    nbformat.write(new_notebook(cells=cells), chapter)
    imports = (
        "import keras, numpy as np, tensorflow as tf\nfrom physgrad_tf.claims import below, claim\n"
        "keras.utils.set_random_seed(0)"
    )
    execute(chapter, imports)
    return folder


@pytest.fixture
def book(executed, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(executed, tmp_path / "book"))


def test_a_chapter_under_other_seeds_and_disturbed_weights(book, monkeypatch):
    """Other seeds give other data and other weights; a disturbance moves weights by a millionth and no data."""
    page = notebooks(book)[0]
    source = nbformat.read(book / page, as_version=4).cells[1].source
    monkeypatch.setattr(settings, "cell_source", lambda: source)
    shifted, disturbed = (settings.run_chapter(page, SETTINGS[name], book) for name in ("seeds-1", "disturbed-1"))
    stored = nbformat.read(book / page, as_version=4)
    assert shifted.failed == disturbed.failed == {}
    assert shifted.seen == {}, "the digits of other seeds are not compared"
    assert shifted.claims[0].measured != disturbed.claims[0].measured
    assert disturbed.claims[0].measured == {
        "mean": stored.cells[4].outputs[0].metadata["physgrad_claim"]["measured"]["mean"]
    }
    (moved,) = disturbed.seen.items()
    old, new = float(stored.cells[3].outputs[0].text.split()[0]), float(moved[1][0])
    assert moved[0] == stored.cells[3].id
    assert 0.0 < abs(new - old) < 1e-4
    assert disturbed.digest == settings.digest_of(page, book)


def test_a_cell_that_fails_is_recorded_and_the_others_run(book, monkeypatch):
    page = notebooks(book)[0]
    notebook = nbformat.read(book / page, as_version=4)
    source = notebook.cells[1].source
    monkeypatch.setattr(settings, "cell_source", lambda: source)
    notebook.cells[2].source += "\nraise RuntimeError('on this machine only')"
    notebook.cells[4].source = notebook.cells[4].source.replace("0.2)", "1e-9)")
    nbformat.write(notebook, book / page)
    ran = settings.run_chapter(page, BASE, book)
    assert next(iter(ran.failed.values())) == "RuntimeError: on this machine only"
    assert list(ran.failed.values())[1].startswith("ClaimFailed: G1")
    assert ran.claims[0].margin < 1.0, "a claim that falls leaves its margin"


def test_what_is_written_is_read(tmp_path):
    (tmp_path / settings.RECORD).parent.mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/one\n", encoding="utf-8")
    nbformat.write(new_notebook(), tmp_path / "chapters" / "one.ipynb")
    assert settings.read(tmp_path) == Record()
    with settings.changed(tmp_path) as record:
        record.runs["chapters/one.ipynb"] = {"avx": RUN, "seeds-1": dataclasses.replace(RUN, seen={})}
        record.package["avx"] = settings.PackageRun("2026-11-25", 2.0, "abc", RUN.environment, 9, ["test_x"])
        record.probes["a"] = {"base": "1", "avx": "2"}
    again = settings.read(tmp_path)
    assert again.runs["chapters/one.ipynb"]["avx"] == RUN
    assert again.package["avx"].failed == ["test_x"]
    assert again.probes == {"a": {"base": "1", "avx": "2"}}
    lines = (tmp_path / settings.RECORD).read_text().splitlines()
    assert any(line.strip() == '["G1", 2.0, {"ratio": 4.0}],' for line in lines), "a claim is a line"
    assert any(line.strip() == '"cell-2": ["1.0", "2e-3"],' for line in lines), "a cell is a line"
    assert json.loads("\n".join(lines))


def test_only_what_changed_is_run(book):
    page = notebooks(book)[0]
    notebook = nbformat.read(book / page, as_version=4)
    current = dataclasses.replace(RUN, digest=digests.of_chapter(notebook))
    assert digests.of_chapter(notebook) == settings.digest_of(page, book)
    notebook.cells[2].source += "\n# a comment changes nothing"
    assert digests.of_chapter(notebook) == current.digest
    notebook.cells[2].source += "\nx = 2 * x"
    assert digests.of_chapter(notebook) != current.digest


def test_a_claim_that_was_not_reached_has_no_margin(book):
    page = notebooks(book)[0]
    current = settings.digest_of(page, book)
    runs = {
        "avx": dataclasses.replace(RUN, digest=current),
        "seeds-1": dataclasses.replace(RUN, digest=current, claims=[]),
        "seeds-2": dataclasses.replace(RUN, digest="of an older version"),
    }
    (found,) = margins_of(page, Record({page.as_posix(): runs}), book)
    assert found.by_setting["avx"] == 2.0
    assert found.by_setting["seeds-1"] == 0.0
    assert "seeds-2" not in found.by_setting
    assert found.weakest_setting == "seeds-1"


def test_a_setting_that_does_nothing_is_refused():
    nothing = Setting("nothing", "processors", "nothing at all")
    with pytest.raises(NoEffect, match="nothing changes no digit"):
        settings.difference(nothing, "1.0", "1.0")
    assert settings.difference(nothing, "1.0", "1.1")


def test_a_setting_for_other_processors_is_passed_over(monkeypatch):
    monkeypatch.setattr(settings, "_flags", lambda: {"avx2", "avx512f"})
    lacks, has = (Setting("s", "processors", "…", where=where) for where in ("avx512_vnni", "avx512f"))
    assert not settings.difference(lacks, "1.0", "1.0")
    with pytest.raises(NoEffect):
        settings.difference(has, "1.0", "1.0")
    assert not settings.difference(Setting("s", "processors", "…", where="!avx512f"), "1.0", "1.0")


def test_another_processor_is_a_setting_of_its_own(monkeypatch):
    """No limit on one processor stands for another: the chapters run as they are where their outputs are not from."""
    page = notebooks()[0]
    here = timings.here().machine["processor"]
    for processor, runs in ((here, []), ("another", [(page, SETTINGS[settings.AS_IT_IS])])):
        taken = timings.Run(1.0, "2026-11-25", timings.Environment({"processor": processor}, {}), "abc")
        monkeypatch.setattr(timings, "read", lambda taken=taken: {page.as_posix(): taken})
        assert settings.wanted([settings.AS_IT_IS], [page], {}, again=True) == runs
    assert settings._with_effect([settings.AS_IT_IS]) == [settings.AS_IT_IS]


def test_every_recorded_setting_changes_a_digit_of_the_probe():
    record = settings.read()
    assert record.probes, "run `make settings`"
    for processor, probes in record.probes.items():
        for name, printed in probes.items():
            ran = any(
                name in runs and runs[name].environment.machine["processor"] == processor
                for runs in record.runs.values()
            )
            assert name == "base" or printed != probes["base"] or not ran, f"{name} changes nothing on {processor}"


def test_names_of_settings_and_chapters():
    assert settings.chosen(["seeds", "avx"]) == ["avx", "seeds-1", "seeds-2", "seeds-3"]
    assert "versions" not in {SETTINGS[name].kind for name in settings.chosen([])}
    assert settings.chapters(["toy"]) == [page for page in notebooks() if page.stem == "toy"]
    with pytest.raises(ValueError, match="no such setting: avx3"):
        settings.chosen(["avx3"])
    with pytest.raises(ValueError, match="no such chapter: toys"):
        settings.chapters(["toys"])


@pytest.mark.parametrize("page", notebooks(), ids=str)
def test_the_record_is_of_the_chapter_as_it_stands(page):
    """A record of an older version of a chapter says nothing about this one: run `make settings`."""
    record, current = settings.read(), settings.digest_of(page)
    runs = record.runs.get(page.as_posix(), {})
    assert [name for name, run in runs.items() if run.digest != current] == []
    missing = {name for name in SETTINGS if name not in runs and not _is_for_others(name, runs, record)}
    assert not missing, "run `make settings`, and with SETTINGS=versions"


def test_a_run_of_new_code_takes_the_place_of_all_runs_of_the_old():
    page = notebooks()[0]
    old, new = (dataclasses.replace(RUN, digest=digest) for digest in ("old", "new"))
    record = Record(runs={page.as_posix(): {"avx2": old, "as-it-is": old}})
    for name in ("avx2", "seeds-1"):
        settings.put(record, page, name, new)
    assert record.runs == {page.as_posix(): {"avx2": new, "seeds-1": new}}


@pytest.mark.parametrize("page", notebooks(), ids=str)
def test_no_cell_failed_under_any_setting(page):
    for name, run in settings.read().runs.get(page.as_posix(), {}).items():
        assert run.failed == {}, f"{page} under {name}"


def test_the_package_was_tested_under_every_setting_and_nothing_failed():
    """On which state of the package, the page "What was run" says: no tolerance depends on it."""
    record = settings.read()
    missing = {
        name for name in SETTINGS if name not in record.package and not _is_for_others(name, record.package, record)
    }
    assert not missing, "run `make settings CHAPTERS=package`, and with SETTINGS=versions"
    assert {name: run.failed for name, run in record.package.items() if run.failed} == {}


def _is_for_others(name, runs, record):
    """Whether a setting makes no difference on the processors that these runs are from, beside the other processor."""
    limited = [run for setting, run in runs.items() if setting != settings.AS_IT_IS]
    processors = {run.environment.machine["processor"] for run in limited} or record.probes.keys()
    probes = [record.probes[processor] for processor in processors]
    return all(each.get(name, each["base"]) == each["base"] for each in probes)


def test_a_setting_is_missed_where_the_runs_are_from_a_processor_on_which_it_matters():
    record = Record(probes={"a": {"base": "1", "avx2": "1"}, "b": {"base": "1", "avx2": "2"}})

    def runs(*processors):
        return {
            name: dataclasses.replace(RUN, environment=timings.Environment({"processor": name}, {}))
            for name in processors
        }

    assert _is_for_others("avx2", runs("a"), record)
    assert not _is_for_others("avx2", runs("a", "b"), record)
    assert not _is_for_others("avx2", {}, record), "without a run nothing is excused"
    other = {settings.AS_IT_IS: runs("b")["b"]}
    assert _is_for_others("avx2", runs("a") | other, record)
    assert not _is_for_others("avx2", runs("b") | other, record)


@pytest.mark.parametrize("page", notebooks(), ids=str)
def test_excused_outputs_have_claims_whose_numbers_keep_their_order(page):
    """The comparison holds them to it, on any machine: the record must not show already that one of them does not."""
    cells = nbformat.read(ROOT / page, as_version=4).cells
    runs = settings.read().runs.get(page.as_posix(), {})
    same = {name: run for name, run in runs.items() if SETTINGS[name].kind in settings.SAME_NUMBERS}
    astray = []
    for place, claim in enumerate(claims_of(page, ROOT)):
        if IGNORE not in cells[claim.cell].metadata.get("tags", []):
            continue
        for setting, run in same.items():
            seen = run.claims[place].measured if place < len(run.claims) else {}
            astray += [
                f"{claim.id} under {setting}: {name} = {seen[name]}, stored {value}"
                for name, value in claim.measured.items()
                if name in seen and not same_order(value, seen[name])
            ]
    assert astray == []
