"""Servers that drip, flood, bury, echo and redirect: each costs one bounded attempt, and no key comes out anywhere."""

import gzip
import io
import json
import logging
import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.cli.program import main
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.inference.endpoint import Endpoint, Question
from oreo_agents.inference.server import Server, split_address
from oreo_agents.language.chat import Chat

KEY = "sk-Live7hJq2ZpX9wB4"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def answer(body, head=OK):
    return [head + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def drip(pieces):
    for piece in pieces:
        time.sleep(0.02)
        yield piece


def forever(piece):
    while True:
        yield piece


def bomb(times=1):
    data = b"0" * 20_000_000
    for _ in range(times):
        data = gzip.compress(data)
    return data


def chunked(pieces):
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


TROUBLES = {
    "a body that drips": lambda: drip([OK + b"Content-Length: 4000\r\n\r\n", *[b" "] * 4000]),
    "headers that drip": lambda: drip([OK[:20], *[b"x"] * 4000]),
    "a drip before the status": lambda: drip([b"H"] * 4000),
    "endless headers": lambda: iter([OK, *(b"X-%d: y\r\n" % i for i in range(100_000))]),
    "an endless header": lambda: iter([OK + b"X: ", *[b"y" * 10_000] * 1000]),
    "endless early answers": lambda: forever(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "an endless body": lambda: chunked(forever(b"0" * 60_000)),
    "an endless size of a chunk": lambda: iter(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"0" * 10_000] * 1000]
    ),
    "a great promise": lambda: iter([OK + b"Content-Length: 99999999999\r\n\r\n", *[b"0" * 100_000] * 100]),
    "gzip": lambda: answer(bomb(), OK + b"Content-Encoding: gzip\r\n"),
    "gzip of gzip": lambda: answer(bomb(2), OK + b"Content-Encoding: gzip, gzip\r\n"),
    "deep JSON": lambda: answer(b"[" * 400_000),
    "deep JSON in its place": lambda: answer(b'{"choices":' * 40_000),
    "a long number": lambda: answer(b'{"choices": [{"text": "look"}], "usage": ' + b"9" * 100_000 + b"}"),
    "no HTTP": lambda: iter([b"SSH-2.0-OpenSSH_9.6\r\n" * 10]),
    "nothing": lambda: iter([]),
    "half": lambda: iter([OK + b"Content-Length: 100\r\n\r\n{"]),
    "two lengths": lambda: iter([OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n1234567"]),
    "odd bytes": lambda: answer(b"\xff\xfe\x00{}"),
    "a list": lambda: answer(b"[]"),
    "choices that are none": lambda: answer(b'{"choices": ["look", 7, null]}'),
    "a number for a text": lambda: answer(b'{"choices": [{"text": 7}]}'),
}


@contextmanager
def listening(pieces):
    """A server that answers every request with the pieces that ``pieces(request)`` gives; its address and what came."""
    listener, came, stop = socket.create_server(("127.0.0.1", 0)), [], threading.Event()

    def serve(connection):
        with connection:
            connection.settimeout(5)
            try:
                request = connection.recv(65_536)
                while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < _length(request):
                    request += connection.recv(65_536)
                came.append(request)
                for piece in pieces(request):
                    if stop.is_set():
                        return
                    connection.sendall(piece)
            except OSError:
                return

    def accept():
        while not stop.is_set():
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", came
    finally:
        stop.set()
        listener.close()


def _length(request):
    head = request.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)


def ask(url, key=KEY, timeout=0.4, **options):
    """What comes of one question, and the seconds that it took."""
    endpoint = Endpoint(url, "m", key, timeout=timeout, retries=0, protocol="completions", **options)
    start = time.perf_counter()
    (found,) = endpoint.ask([Question([5], lambda: "x", list, 1, "<end>", 4)])
    return found, time.perf_counter() - start


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_one_bounded_sentence(name):
    with listening(lambda request: TROUBLES[name]()) as (url, _):
        found, seconds = ask(url)
    assert isinstance(found, EngineError) and "no completion in 1 attempts" in str(found)
    assert seconds < 3 and len(str(found)) < 400


ECHOES = {
    "all": KEY,
    "in capitals": KEY.upper(),
    "a part": KEY[3:-2],
    "in a sentence": f"the key '{KEY}' of Bearer {KEY}{KEY} is wrong",
    "after a null": f"\0{KEY}\0",
    "in JSON": json.dumps({"error": {"message": f"bad key {KEY}"}}),
    "escaped": json.dumps({"error": {"message": "bad \u0130 key " + KEY}}).replace("s", "\\u0073"),
}


def is_told(text):
    """Whether eight characters of the key stand somewhere."""
    return any(KEY[i : i + 8].lower() in text.lower() for i in range(len(KEY) - 7))


@pytest.mark.parametrize("status", [b"401 No", b"500 Oops", b"302 Found", b"400 " + KEY.encode()])
@pytest.mark.parametrize("name", ECHOES)
def test_a_server_that_repeats_the_key_is_not_quoted(name, status):
    head = b"HTTP/1.1 " + status + b"\r\nLocation: http://elsewhere/?key=" + KEY.encode() + b"\r\n"
    with listening(lambda request: answer(ECHOES[name].encode(), head)) as (url, came):
        found, _ = ask(url)
    assert isinstance(found, EngineError) and not is_told(str(found))
    assert f"authorization: bearer {KEY}".lower() in came[0].decode().lower()


def test_a_header_that_repeats_the_key_is_not_quoted():
    with listening(lambda request: iter([OK + KEY.encode() + b"\r\n\r\n"])) as (url, _):
        found, _ = ask(url)
    assert isinstance(found, EngineError) and not is_told(str(found))


@pytest.mark.parametrize("text", [KEY, f"say {KEY.lower()} now"])
def test_a_reply_that_repeats_the_key_is_refused(text):
    body = json.dumps({"choices": [{"text": text}]}).encode()
    with listening(lambda request: answer(body)) as (url, _):
        found, _ = ask(url)
    assert isinstance(found, EngineError) and "repeats the key" in str(found) and not is_told(str(found))


def test_ids_that_spell_the_key_are_refused(tokenizer):
    """A key of words that the tokenizer knows."""
    key = "go to desk 1"
    ids = Chat(tokenizer).action_ids(key)
    body = json.dumps({"choices": [{"text": "look", "token_ids": ids}]}).encode()
    with listening(lambda request: answer(body)) as (url, _):
        endpoint = Endpoint(url, "m", key, timeout=5, retries=2, protocol="completions")
        decision = OreoAgent(endpoint, tokenizer, max_new_tokens=16).act("You see a desk 1.")
    assert decision.failed and "repeats the key" in decision.end and key not in decision.end


def test_redirects_are_not_followed():
    """The key would go where it leads."""
    with listening(lambda request: answer(b'{"choices": [{"text": "look"}]}')) as (other, there):
        for status in (b"301", b"302", b"303", b"307", b"308"):
            head = b"HTTP/1.1 " + status + b" x\r\nLocation: " + other.encode() + b"/completions\r\n"
            with listening(lambda request, head=head: answer(b"", head)) as (url, _):
                found, _ = ask(url)
            assert isinstance(found, EngineError) and f"answers {status.decode()}" in str(found)
        assert there == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        f"http://me:{KEY}@127.0.0.1/v1",
        f"https://{KEY}@host/v1",
        f"https://host/v1?api_key={KEY}",
        f"https://host/v1#{KEY}",
        "https://host/v1?",
        f"ftp://host/{KEY}",
        "file:///etc/passwd",
        "host:8000/v1",
        "http://",
        "http:///v1",
        "http://host:99999/v1",
        "http://host:x/v1",
        "http://host:0/v1",
        "http://[::1/v1",
        "http://[fe80::1%25eth0]/v1",
        "http://ho st/v1",
        "http://host\r\nX: y/v1",
        "http://host\\@other/v1",
        "http://h\u00f6st/v1",
        "http://host/%2e%2e/v1",
        "http://host/../v1",
        "http://" + "a" * 3000,
        "http://-host/v1",
        "http://a..b/v1",
        "javascript:alert(1)",
    ],
)
def test_odd_addresses_are_refused_and_not_repeated(url):
    with pytest.raises(ConfigurationError, match="the server's URL") as refused:
        Server(url, "m")
    assert not is_told(str(refused.value))


@pytest.mark.parametrize(
    "url", ["http://[::1]:8000/v1", "https://api.openai.com/v1", "http://gpu_7.local:80/a/v1/"]
)
def test_ordinary_addresses_are_taken(url):
    assert split_address(url).hostname
    assert Endpoint(url, "m").host.startswith(url[:10])


@pytest.mark.parametrize(
    ("url", "named", "sent"),
    [
        ("https://host/v1", None, True),
        ("http://127.0.0.1:8000/v1", None, True),
        ("http://[::1]:8000/v1", None, True),
        ("http://localhost/v1", None, True),
        ("http://host/v1", None, False),
        ("http://10.0.0.7/v1", None, False),
        ("http://127.0.0.1.host/v1", None, False),
        ("http://host/v1", "MY_KEY", True),
    ],
)
def test_a_key_is_not_sent_in_the_clear_unless_it_was_named(monkeypatch, url, named, sent):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    server = Server(url, "m", named)
    assert server.read_key() == (KEY if sent else None)
    assert KEY not in repr(server) and KEY not in repr(Endpoint.from_server(server))


@pytest.mark.parametrize(
    ("key", "complaint"), [("", "there is no key"), (f"{KEY}\nX: y", "odd"), (f"{KEY}\u00e9", "odd")]
)
def test_odd_keys_are_refused_and_not_repeated(monkeypatch, key, complaint):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigurationError, match=rf"\$MY_KEY.*{complaint}|{complaint}.*\$MY_KEY") as refused:
        Server("https://host/v1", "m", "MY_KEY")
    assert not is_told(str(refused.value))


def test_no_key_is_in_what_a_command_writes(monkeypatch, tmp_path, capfd):
    """The key in the environment and in the server's path, and a server that repeats it wherever it can: output, log,
    results and dataset."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    replies = iter([b'{"choices": [{"text": "look"}], "id": "%s"}' % KEY.encode()] * 5)
    refusal = answer(
        json.dumps({"error": KEY}).encode(), b"HTTP/1.1 403 No\r\nX-Key: " + KEY.encode() + b"\r\n"
    )
    games = ["--agent", "small", "--split", "generated", "-n", "2", "--max-steps", "2"]
    try:
        with listening(lambda request: answer(body) if (body := next(replies, None)) else refusal) as (
            url,
            came,
        ):
            url = url.replace("/v1", f"/{KEY}/v1")
            for command in ("eval", "record"):
                words = [command, *games, f"--endpoint={url}", "-o", str(tmp_path / f"{command}.json")]
                monkeypatch.setattr(sys, "argv", ["oreo-agents", *words])
                main(words)
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(logging.WARNING)
    said = capfd.readouterr()
    assert "403" in said.out + said.err and any(KEY.encode() in request for request in came)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not any(is_told(text) for text in (said.out, said.err, log.getvalue()))
    assert not any(is_told(data.decode(errors="replace")) for data in files)
