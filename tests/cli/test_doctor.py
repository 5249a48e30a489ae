"""What the doctor finds, on machines that lack something."""

import http.server
import json
import threading

import pytest

from oreo_agents import cli
from oreo_agents.cli import installation

VERSIONS = {"numpy": "1.0", "peft": None, "httpx": None}


@pytest.fixture
def checks(monkeypatch):
    """The checks of packages on a machine with the versions above."""
    usual = installation._find_version
    monkeypatch.setattr(installation, "_find_version", lambda name: VERSIONS.get(name, usual(name)))
    return {check.name: check for check in installation._check_packages()}


def test_what_is_missing_or_too_old_is_named_with_the_line_that_mends_it(checks):
    assert (checks["numpy"].status, checks["numpy"].finding) == ("wrong", "1.0, which is too old")
    assert checks["numpy"].remedy == "pip install 'numpy>=1.26'"
    assert (checks["httpx"].finding, checks["httpx"].remedy) == ("not installed", "pip install 'httpx>=0.27'")
    assert (checks["[peft]"].status, checks["[peft]"].finding) == ("note", "without peft")
    assert checks["[peft]"].remedy == "pip install 'peft>=0.13'"
    assert checks["torch"].status == "ok" and "[dev]" not in checks


def test_a_compiler_is_missed_only_where_textworld_is_to_be_built(monkeypatch):
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    monkeypatch.setattr(installation.sys, "version_info", (3, 12))
    monkeypatch.setattr(installation, "_find_version", lambda name: "1.7.0")
    assert installation._check_compiler().finding == "not needed"
    monkeypatch.setattr(installation, "_find_version", lambda name: None)
    check = installation._check_compiler()
    assert check.status == "note" and "cc and make" in check.finding and "build-essential" in check.remedy
    monkeypatch.setattr(installation.sys, "version_info", (3, 13))
    assert installation._check_compiler().finding == "not needed"


def test_a_torch_that_cannot_be_imported_is_wrong(monkeypatch):
    monkeypatch.setitem(installation.sys.modules, "torch", None)
    (check,) = installation._check_torch()
    assert (check.name, check.status) == ("device", "wrong") and "torch cannot be imported" in check.finding


def test_servers_are_looked_for(monkeypatch, capsys):
    class Models(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": "mine"}]}).encode())

        def log_message(self, *args):
            """Quietly."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        there, elsewhere = map(installation._check_endpoint, (f"{url}/v1", url))
        server.shutdown()
    assert (there.status, there.finding) == ("ok", f"{url}/v1 has mine")
    assert elsewhere.status == "wrong" and "/v1" in elsewhere.remedy
    only = lambda endpoints: map(installation._check_endpoint, endpoints)  # noqa: E731
    monkeypatch.setattr(installation, "check_installation", only)
    assert cli.main(["doctor", "--endpoint", f"{url}/v1"]) == 1
    assert "does not answer" in capsys.readouterr().out
