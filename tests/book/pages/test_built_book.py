"""The built book, checked by what it produced: every page there, whole, fresh, and every link and picture in place."""

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, Tag

from book.address import COLAB_BRANCH, is_published, repository_address
from book.pages.ledger import LEADS, MARKS, weakest
from book.records import claims, claims_of, statements
from book.toc import ROOT, notebooks, pages, title

PAGES = pages()
NOTEBOOKS = notebooks()
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
# Markup that should have become something else.
LEFTOVER = re.compile(
    r"```|:::|\{[a-zA-Z:-]+\}`|^:(?:label|name|class|alt|width):|\]\(#|\*\*\w|\(\w[\w-]*\)=\s*$", re.MULTILINE
)

every_page = pytest.mark.parametrize("page", PAGES, ids=str)
every_notebook = pytest.mark.parametrize("page", NOTEBOOKS, ids=str)


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(str(tag["id"]) for tag in soup(path).find_all(id=True))


def built(html: Path, page: Path) -> Path:
    return html / page.with_suffix(".html")


def article(html: Path, page: Path) -> Tag:
    found = soup(built(html, page)).find("article", class_="bd-article")
    assert isinstance(found, Tag), f"{page} has no article"
    return found


def prose(part: Tag) -> str:
    """The text a reader sees as prose: no code, no outputs, no formulas."""
    copy = BeautifulSoup(str(part), "html.parser")
    # Names of arguments, such as **options, are code as well.
    for tag in copy.select("pre, code, script, style, .math, dl.py .field-list strong"):
        tag.decompose()
    return copy.get_text("\n")


@every_page
def test_page_is_there_and_says_something(html, page):
    assert built(html, page).is_file()
    assert len(article(html, page).get_text().split()) >= 40
    tops = [heading.get_text(strip=True).rstrip("#") for heading in article(html, page).find_all("h1")]
    assert tops == [tops[0]] if tops else False, f"expected one h1, got {tops}"
    assert all(
        heading.get_text(strip=True).rstrip("#") for heading in article(html, page).find_all(re.compile("h[1-6]"))
    )
    if page in NOTEBOOKS:
        assert article(html, page).find("h2") is not None


def test_the_front_page_leads_into_the_book(html):
    target = soup(html / "index.html").find("meta", attrs={"http-equiv": "Refresh"})
    if target is not None:
        assert isinstance(target, Tag)
        assert (html / str(target["content"]).split("url=")[-1]).resolve() == built(html, PAGES[0]).resolve()


@every_page
def test_navigation_reaches_every_page(html, page):
    navigation = soup(built(html, page)).select_one("nav.bd-links")
    assert navigation is not None
    linked = {
        (built(html, page).parent / str(a["href"]).split("#")[0]).resolve() for a in navigation.find_all("a", href=True)
    }
    assert {built(html, other).resolve() for other in PAGES if other != page} <= linked


@every_page
def test_no_markup_is_left_over(html, page):
    match = LEFTOVER.search(prose(article(html, page)))
    assert match is None, match and prose(article(html, page))[max(0, match.start() - 60) : match.end() + 60]
    assert not article(html, page).select(".problematic, .system-message")


@every_page
def test_links_inside_the_book_lead_somewhere(html, page):
    for a in soup(built(html, page)).find_all("a", href=True):
        link = urlsplit(str(a["href"]))
        if link.scheme or link.netloc:
            continue
        target = (built(html, page).parent / unquote(link.path)).resolve() if link.path else built(html, page)
        assert target.is_file(), f"{a['href']}: no such file"
        if link.fragment and target.suffix == ".html":
            assert unquote(link.fragment) in anchors(target), f"{a['href']}: no such place"


@every_page
def test_pictures_are_there_and_described(html, page):
    for img in soup(built(html, page)).find_all("img"):
        assert str(img.get("alt", "")).strip(), f"{img.get('src')}: no alt text"
        link = urlsplit(str(img["src"]))
        if link.scheme != "data":
            picture = built(html, page).parent / unquote(link.path)
            assert picture.is_file(), f"{img['src']}: no such file"
            assert picture.stat().st_size > 100, f"{img['src']} is empty"


@every_page
def test_nothing_is_loaded_from_another_host(html, page):
    for tag in soup(built(html, page)).find_all(list(LOADING)):
        assert not is_elsewhere(str(tag.get(LOADING[tag.name], ""))), tag
        assert "//" not in str(tag.get("srcset", "")), tag
    for tag in soup(built(html, page)).find_all("link", rel=True, href=True):
        if LOADING_LINKS & set(tag["rel"]):
            assert not is_elsewhere(str(tag["href"])), tag
    for tag in soup(built(html, page)).find_all("script", src=False):
        assert not re.search(r"https?://", tag.get_text()), f"an inline script names another host: {tag}"


def test_no_stylesheet_loads_from_another_host(html):
    sheets = list(html.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        found = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text(encoding="utf-8"))
        assert found == [], sheet


def is_elsewhere(address: str) -> bool:
    link = urlsplit(address)
    return bool(link.netloc) or link.scheme in {"http", "https"}


@every_notebook
def test_colab_link(html, page):
    """To the Colab edition on its branch; a copy that is not published has no button instead of one to nowhere."""
    owner_and_name = repository_address().removeprefix("https://github.com/")
    expected = f"https://colab.research.google.com/github/{owner_and_name}/blob/{COLAB_BRANCH}/{page.as_posix()}"
    links = {str(a["href"]) for a in soup(built(html, page)).find_all("a", href=True)}
    assert {link for link in links if "colab" in link} == ({expected} if is_published() else set())
    assert is_published() or not any(repository_address() in link for link in links)


@every_notebook
def test_page_shows_the_notebook_as_it_is_now(html, page):
    cells = [cell for cell in nbformat.read(ROOT / page, as_version=4).cells if cell.cell_type == "code"]
    shown = article(html, page).select("div.cell")
    assert len(shown) == len(cells), "run `make book`"
    for cell, div in zip(cells, shown, strict=True):
        source = div.select_one(".cell_input pre")
        assert source is not None
        assert source.get_text().strip() == cell.source.strip(), "run `make book`"
        text = div.get_text()
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.text.strip() in text, "run `make book`"
            elif set(output.data) == {"text/plain"}:
                assert output.data["text/plain"].strip() in text, "run `make book`"
        n_pictures = sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in cell.outputs)
        assert len(div.select(".cell_output img")) == n_pictures


@every_notebook
def test_claims_have_an_anchor_at_their_cell(html, page):
    for claim in claims_of(page):
        cell = article(html, page).find(id=claim.anchor)
        assert isinstance(cell, Tag), claim.anchor
        assert f'"{claim.id}"' in cell.get_text(), claim.anchor
        assert "claims" in cell["class"], "the stylesheet lets the line of a claim break"


def straight(text):
    """The page sets typographic apostrophes."""
    return text.replace("’", "'")


def page_of(claim):
    return claim.notebook.with_suffix("").as_posix()


def test_the_ledger_shows_every_statement_and_every_claim(html):
    page = article(html, Path("chapters/closing/ledger.md"))
    every = claims()
    by_id = {statement.id: [claim for claim in every if claim.id == statement.id] for statement in statements()}
    assert [str(entry["id"]) for entry in page.select(".ledger-entry")] == [f"ledger-{i.lower()}" for i in by_id]
    for claim_id, made in by_id.items():
        entry = page.find(id=f"ledger-{claim_id.lower()}")
        assert isinstance(entry, Tag)
        verdict = weakest(made)
        line = entry.select_one("details > summary")
        assert isinstance(line, Tag)
        mark = line.select_one(".ledger-mark")
        assert isinstance(mark, Tag)
        assert (mark.get_text(), mark["aria-label"], entry["data-verdict"]) == (MARKS[verdict], verdict, verdict)
        said = next(claim.sentence for claim in made if claim.verdict == verdict)
        wording = " ".join(filter(None, [MARKS[verdict], claim_id, LEADS.get(verdict), said]))
        assert straight(line.get_text()) == wording
        assert entry["data-chapters"].split() == list(dict.fromkeys(page_of(claim) for claim in made))
        answers = entry.select("details .ledger-answer")
        assert len(answers) == len(made)
        for claim, answer in zip(made, answers, strict=True):
            text = straight(answer.get_text())
            assert (claim.sentence in text) == (len(made) > 1), "a single one is in the line and need not come twice"
            assert f"{MARKS[claim.verdict]} {claim.verdict}: " in text
            assert all(name in text for name in claim.measured)
            link = answer.select_one("a[href]")
            assert link is not None
            assert str(link["href"]).endswith(f"{claim.notebook.with_suffix('.html').name}#{claim.anchor}")
        cell = entry.select_one(":scope > .ledger-cell a[href]")
        assert isinstance(cell, Tag)
        assert cell["href"] in [link["href"] for link in entry.select("details .ledger-cell a")]
        assert cell.get_text().startswith(f"cell of {claim_id}, in “")
    summary = page.select_one(".ledger-summary")
    assert summary is not None
    for verdict in MARKS:
        n = sum(weakest(made) == verdict for made in by_id.values())
        assert (f"{verdict}: {n}" in summary.get_text()) == (n > 0)


def raw_records():
    """Every claim's record, from the files of the notebooks themselves, in the order of the table of contents."""
    found = []
    for page in NOTEBOOKS:
        for cell in json.loads((ROOT / page).read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if "physgrad_claim" in output.get("metadata", {}):
                    found.append(output["metadata"]["physgrad_claim"])
    return found


def digits(value):
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"


def test_the_ledger_has_what_the_files_have(html):
    """Counted and formatted here: repeats of an ID, every number with its digits, and the counts at the top."""
    page = article(html, Path("chapters/closing/ledger.md"))
    records = raw_records()
    entries = yaml.safe_load((ROOT / "chapters/closing/statements.yml").read_text(encoding="utf-8"))
    assert len(page.select(".ledger-answer")) == len(records)
    for entry in entries:
        mine = [record for record in records if record["id"] == entry["id"]]
        shown = page.find(id=f"ledger-{entry['id'].lower()}").select(".ledger-answer")
        assert len(shown) == len(mine), entry["id"]
        for record, answer in zip(mine, shown, strict=True):
            numbers = [item.get_text().strip() for item in answer.select(".ledger-numbers li")]
            expected = [f"{name} = {digits(value)}" for name, value in record["measured"].items()]
            assert [n.replace("’", "'") for n in numbers] == expected, entry["id"]
    summary = page.select_one(".ledger-summary").get_text()
    assert f"{len(entries)} statements, {len(records)} executed claims" in summary
    for verdict in ("holds", "holds if", "not shown", "does not hold"):
        count = sum(entry["verdict"] == verdict for entry in entries)
        assert bool(re.search(rf"{verdict}: {count}(?!\d)", summary)) == (count > 0), verdict


def test_every_claim_is_in_the_picture_and_the_table_of_margins(html):
    page = article(html, Path("chapters/closing/runs.md"))
    record = json.loads((ROOT / "chapters/closing/settings.json").read_text(encoding="utf-8"))
    picture = page.select_one("svg.margins")
    names = [text.get_text() for text in picture.find_all("text")]
    assert [name for name in names if re.fullmatch(r"[A-Z]\d+", name)] == [each["id"] for each in raw_records()]
    ran = {name for runs in record["chapters"].values() for name in runs}
    assert ran <= set(names)
    assert len(picture.find_all("rect")) == sum(
        1 + len(record["chapters"].get(page.as_posix(), {})) for page in NOTEBOOKS for _ in claims_of(page)
    )
    rows = [row for row in page.find_all("tr") if row.find("a") and len(row.find_all("td")) == 5]
    assert sorted(row.a.get_text() for row in rows) == sorted(each["id"] for each in raw_records())


def test_what_was_run_shows_every_chapter_and_their_sum(html):
    page = article(html, Path("chapters/closing/runs.md"))
    text = page.get_text()
    assert all(title(notebook) in text for notebook in NOTEBOOKS)
    assert "tensorflow" in text
    timings = json.loads((ROOT / "chapters/closing/timings.json").read_text(encoding="utf-8"))["chapters"]
    quiet = {chapter: entry["seconds"] / entry.get("slowness", 1.0) for chapter, entry in timings.items()}
    rows = {
        row.td.get_text(): [cell.get_text() for cell in row.find_all("td")]
        for row in page.table.find_all("tr")
        if row.td
    }
    assert rows["All chapters"][1] == f"{sum(quiet.values()):.0f}"
    for chapter, entry in timings.items():
        seconds, date = rows[title(Path(chapter))][1:3]
        assert (seconds.split(" ")[0], date) == (f"{quiet[chapter]:.0f}", entry["date"])
        assert ("measured" in seconds) == (entry.get("slowness", 1.0) != 1.0)
