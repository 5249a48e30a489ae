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
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


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
    return _point_links(markdown, ROOT / "docs") if page.file.src_uri not in PAGES else markdown


def _read_page(source):
    return _point_links((ROOT / source).read_text(encoding="utf-8"), (ROOT / source).parent)


def _point_links(text, folder):
    return LINK.sub(lambda link: _point_link(link, folder), text)


def _point_link(link, folder):
    """The link to the page that stands for a file of the repository; the file's name where none does."""
    inside = (folder / link["target"]).resolve()
    name = str(inside.relative_to(ROOT)) if inside.is_relative_to(ROOT) and inside.exists() else ""
    pages = {source: page for page, source in PAGES.items()}
    if name.startswith("docs/"):
        pages[name] = name.removeprefix("docs/")
    elif name.endswith(".png"):
        pages[name] = name.removeprefix("benchmarks/")
    if name in pages:
        return f"[{link['text']}]({pages[name]}{link['anchor'] or ''})"
    return f"{link['text']} (`{name}`)" if name else link[0]
