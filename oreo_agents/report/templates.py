"""Pages from templates: whatever is put into one is escaped and printable, and nothing is fetched from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from oreo_agents.printable import make_printable

FOLDER = "pages"


def render_page(name: str, style: str, script: str = "", **values: Any) -> str:
    """A whole page that needs no other file.

    Args:
        name: the template.
        style: the file with its style sheet.
        script: the file with its script, the only one that may run; empty where there is none.
        values: what the template is about.
    """
    parts = {kind: read_source(file) for kind, file in (("style", style), ("script", script)) if file}
    allowed = [f"{kind}-src {_hash_source(source)}" for kind, source in parts.items()]
    policy = "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])
    return open_templates().get_template(name).render(policy=policy, **parts, **values)


def render_macro(name: str, macro: str, *values: Any) -> Markup:
    """What a macro of a template makes of some values."""
    return Markup(getattr(open_templates().get_template(name).module, macro)(*values))


def read_source(name: str) -> Markup:
    """A style sheet or script of ours, as it stands."""
    return Markup(files(__package__).joinpath(FOLDER, name).read_text("utf-8"))


@lru_cache(maxsize=1)
def open_templates() -> Environment:
    """All templates of this folder."""
    found = Environment(
        loader=PackageLoader(__package__ or "", FOLDER),
        autoescape=True,
        finalize=_make_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["fixed"] = _format_fixed
    return found


def _make_text(value: Any) -> Any:
    """Texts of games and models, and of files, without control codes; markup of ours as it is."""
    return make_printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _format_fixed(value: float, digits: int = 2, sign: str = "") -> str:
    """A number with so many digits behind the point, and a real minus sign."""
    return f"{value:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _hash_source(source: str) -> str:
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"
