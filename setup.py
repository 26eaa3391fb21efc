"""What of the package's metadata names a place: from `_config.yml`, which alone has the addresses.

All else stands in `pyproject.toml`.
"""

import sys
import tempfile
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build does not look for modules here

from book.address import is_published, pages_address, repository_address, with_absolute_links  # noqa: E402

elsewhere = tempfile.TemporaryDirectory()  # pip builds in place: nothing is to be left in a clone
repository = repository_address(ROOT)
urls = {"Book": pages_address(ROOT), "Repository": repository, "Issues": f"{repository}/issues"}
setup(
    long_description=with_absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), ROOT),
    long_description_content_type="text/markdown",
    project_urls=urls if is_published(ROOT) else {},
    options={"build": {"build_base": elsewhere.name}, "egg_info": {"egg_base": elsewhere.name}},
)
