"""A stand-in for the Hugging Face Hub: takes commits over HTTP and gives the files back. One repository, one branch."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OID = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for when it creates a repository, uploads a folder and downloads a snapshot."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given.get('organization') or 'someone'}/{given['name']}"
            self.reply({"url": f"{self.server.url}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
            self.reply({"files": [{**file, "shouldIgnore": False} for file in files]})
        elif "/commit/" in self.path:
            self.commit(body.decode().splitlines())
        else:
            self.reply({"error": f"not here: {self.path}"}, status=404)

    def commit(self, lines):
        header, *files = [json.loads(line) for line in lines]
        self.server.commits.append(header["value"]["summary"])
        for file in files:
            value = file["value"]
            self.server.files[value["path"]] = base64.b64decode(value["content"])
        self.reply({"commitUrl": f"{self.server.url}/someone/agent/commit/{OID}", "commitOid": OID})

    def do_GET(self):
        if self.path.startswith("/api/models/someone/agent/tree/"):
            entries = [{"path": name, "size": len(x), "oid": OID} for name, x in self.server.files.items()]
            self.reply([{"type": "file", **entry} for entry in entries])
        elif self.path.startswith("/api/models/someone/agent"):
            siblings = [{"rfilename": name} for name in self.server.files]
            self.reply({"id": "someone/agent", "sha": OID, "siblings": siblings})
        elif self.path.startswith("/someone/agent/resolve/"):
            self.give(self.path.partition(f"{OID}/")[2])
        else:
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self.reply({"error": "Repository not found"}, headers, status=404)

    do_HEAD = do_GET

    def give(self, name):
        if name not in self.server.files:
            self.reply({}, {"X-Error-Code": "EntryNotFound"}, status=404)
            return
        self.reply(self.server.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": OID})

    def reply(self, content, headers=None, status=200):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub():
    """A running server; ``url``, ``files`` and ``commits`` tell about it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url, server.files, server.commits = f"http://127.0.0.1:{server.server_port}", {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
