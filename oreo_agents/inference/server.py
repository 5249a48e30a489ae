"""Which server has a policy, as a value: where it is, what it calls the model, and whose key opens it.

The key itself is no part of the value: it stays in the environment until a request is made. Loads nothing heavy.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from oreo_agents.errors import ConfigurationError

Protocol = Literal["completions", "chat"]
"""What is asked for: the text after a text, or the answer in a conversation, written with the server's template."""

KEY_VARIABLE = "OPENAI_API_KEY"
HOSTED_CEILING = 10_000_000
"""Tokens that a server elsewhere may be asked for where nobody has said how many."""


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server (``vllm serve``, SGLang, llama.cpp, ``transformers serve``, hosted ones).

    Raises:
        ConfigurationError: an address that is none, or that carries a key; no key in the variable that was named.
    """

    url: str
    """Up to and including ``/v1``."""
    model: str
    """As the server calls it."""
    key_variable: str | None = None
    """Of the environment, with the key. None: ``OPENAI_API_KEY``, whose key is only sent encrypted or to this machine.
    """
    protocol: Protocol | None = None
    """None: completions, and chat completions where the server has no others."""
    max_tokens: int | None = None
    """Read and written in all; None: 10 million for a server elsewhere (https), no limit for one's own."""

    def __post_init__(self) -> None:
        split_address(self.url)
        self.read_key()
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigurationError(f"a ceiling of {self.max_tokens} tokens allows no request: raise it")

    @property
    def ceiling(self) -> int | None:
        """Tokens that it may be asked for."""
        if self.max_tokens is None and split_address(self.url).scheme == "https":
            return HOSTED_CEILING
        return self.max_tokens

    def read_key(self) -> str | None:
        """The key, if there is one for this server."""
        name = self.key_variable or KEY_VARIABLE
        key = os.environ.get(name, "").strip()
        if self.key_variable and not key:
            raise ConfigurationError(f"there is no key in ${name}: set it, or name another variable")
        if not re.fullmatch(r"[!-~]*", key):
            raise ConfigurationError(f"what is in ${name} is no key: it has spaces or odd characters")
        sent = self.key_variable or _is_private(split_address(self.url))
        return key if key and sent else None


def split_address(url: str) -> SplitResult:
    """The parts of a server's address.

    Raises:
        ConfigurationError: it is none, or has more than a host, a port and a path. The message does not repeat it, as
            there may be a key in it.
    """
    remedy = "write https://HOST/v1 or http://HOST:PORT/v1"
    if not re.fullmatch(r"[!-~]{1,2000}", url):
        raise ConfigurationError(f"the server's URL is empty or has spaces or odd characters: {remedy}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"the server's URL is none: {remedy}") from error
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"the server's URL begins neither with http:// nor https://: {remedy}")
    if "@" in parts.netloc or parts.query or parts.fragment or "?" in url or "#" in url:
        raise ConfigurationError(
            f"the server's URL has more than a host and a path; a key belongs into ${KEY_VARIABLE} or a variable that "
            f"--endpoint-key names: {remedy}"
        )
    if not host or port == 0 or not _is_host(host) or "\\" in url or "%" in url or "/../" in url + "/":
        raise ConfigurationError(f"the server's URL names no host: {remedy}")
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return bool(ipaddress.IPv6Address(host))
        except ValueError:
            return False
    return re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", host) is not None and ".." not in host


def _is_private(parts: SplitResult) -> bool:
    """Whether what is sent there can be read by nobody else."""
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
