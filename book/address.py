"""Where the book is published: `_config.yml` holds the repository's address and that of its pages."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path("_config.yml")
COLAB_BRANCH = "colab"  # of the same repository
UNSET_OWNER = "set--me"  # GitHub allows no two hyphens in a row: nobody can register it


def repository_address(root: Path = ROOT) -> str:
    """The repository's address as `_config.yml` has it.

    Raises:
        ValueError: If it is no plain `https://` address: a `.git` or `/` at its end would break the links to Colab.
    """
    return _plain("repository.url", _config(root)["repository"]["url"])


def is_published(root: Path = ROOT) -> bool:
    """Whether the repository's address is one that somebody can own."""
    return f"/{UNSET_OWNER}/" not in repository_address(root)


def pages_address(root: Path = ROOT) -> str | None:
    """The address below which the pages lie, without `/` at its end; nothing as long as the book is not published."""
    if not is_published(root):
        return None
    return _plain("html.baseurl", _config(root)["html"].get("baseurl") or _pages_of(repository_address(root)))


def with_absolute_links(markdown: str, root: Path = ROOT) -> str:
    """A text of the repository as it can stand elsewhere: its links and pictures lead to the repository.

    As long as the book is not published there is nowhere to lead to, and the text stays as it is.
    """
    if not is_published(root):
        return markdown
    repository, branch = repository_address(root), _config(root)["repository"]["branch"]
    link = re.compile(r"(!?)(\[[^\]]*\]\()(?!https?://|#|mailto:)")
    return link.sub(lambda hit: f"{hit[1]}{hit[2]}{repository}/{'raw' if hit[1] else 'blob'}/{branch}/", markdown)


def write(repository: str, pages: str | None = None, root: Path = ROOT) -> None:
    """Write the addresses into `_config.yml`.

    Args:
        repository: `https://github.com/OWNER/NAME`, without `.git`.
        pages: where the pages will lie; by default where GitHub Pages puts them.
        root: the book's folder.

    Raises:
        ValueError: If an address is not a plain `https://` one, or `_config.yml` lacks its place.
    """
    values = {"url": _plain("repository", repository), "baseurl": _plain("pages", pages or _pages_of(repository))}
    text = (root / CONFIG).read_text(encoding="utf-8")
    for key, value in values.items():
        text, places = re.subn(rf'^(\s+{key}:)\s*(?:"[^"\n]*"|\S*)', rf"\g<1> {value}", text, flags=re.MULTILINE)
        if places != 1:
            raise ValueError(f"{CONFIG}: expected one line with the key {key!r}, found {places}")
    (root / CONFIG).write_text(text, encoding="utf-8")


def _config(root: Path) -> dict[str, dict[str, str]]:
    return yaml.safe_load((root / CONFIG).read_text(encoding="utf-8"))


def _plain(name: str, address: str) -> str:
    if not address.startswith("https://") or address.endswith((".git", "/")) or set(address) & set("\"'\\ {}"):
        raise ValueError(f"{name} is {address!r}; expected an https:// address without .git or / at its end")
    return address


def _pages_of(repository: str) -> str:
    owner, _, name = urlsplit(repository).path.strip("/").partition("/")
    home = f"https://{owner.lower()}.github.io"
    return home if name.lower() == f"{owner.lower()}.github.io" else f"{home}/{name}"
