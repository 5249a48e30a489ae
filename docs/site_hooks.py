"""Pages of the site that lie elsewhere in the repository; links between them are made to fit."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")


def on_files(files, config):
    """Add those pages, and the pictures that they show."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=_read_page(source)))
    for picture in sorted((ROOT / "benchmarks/results").rglob("*.png")):
        name = str(picture.relative_to(ROOT / "benchmarks"))
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links out of the folder at what stands for it."""
    return LINK.sub(lambda link: _find_page(Path("docs") / link[1]) or link[1], markdown)


def _read_page(source):
    text = (ROOT / source).read_text(encoding="utf-8")
    return LINK.sub(lambda link: _find_page((ROOT / source).parent / link[1]) or link[1], text)


def _find_page(path):
    """The page that stands for a file of the repository; None where none does."""
    inside = (ROOT / path).resolve()
    for page, source in PAGES.items():
        if inside == ROOT / source:
            return page
    docs = ROOT / "docs"
    return str(inside.relative_to(docs)) if inside.is_relative_to(docs) and inside.is_file() else None
