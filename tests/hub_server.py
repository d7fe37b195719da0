"""A server that speaks what huggingface_hub's client needs to create, fill and read repositories."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret_of_the_test"
Files = dict[str, bytes]


class HubServer(ThreadingHTTPServer):
    """`commits[repo]` are the states of a repository, oldest first; `seen` says which files were read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, list[Files]] = {}
        self.private: dict[str, bool] = {}
        self.read: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, files: Files) -> str:
        self.commits.setdefault(repo, []).append(files)
        return name_of(files)

    def files(self, repo: str, revision: str) -> Files | None:
        """Of a revision, which is main or the name of a commit."""
        kept = self.commits.get(repo, [])
        if revision == "main":
            return kept[-1] if kept else None
        return next((files for files in kept if name_of(files) == revision), None)


def name_of(files: Files) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    with HubServer() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def reply(self, status: int, body: Any, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, code: str) -> None:
        self.reply(404, {"error": code}, X_Error_Code=code)

    def do_GET(self) -> None:
        place = unquote(urlsplit(self.path).path)
        if place.startswith("/api/models/"):
            owner, name, what, revision = place.removeprefix("/api/models/").split("/")[:4]
            files = self._files(f"{owner}/{name}", revision)
            if files is None:
                return
            if what == "revision":
                listed = [{"rfilename": path} for path in files]
                self.reply(200, {"id": f"{owner}/{name}", "sha": name_of(files), "siblings": listed})
            else:
                tree = [{"type": "file", "path": p, "size": len(d), "oid": _oid(d)} for p, d in files.items()]
                self.reply(200, tree)
            return
        if place.count("/resolve/") != 1:
            return self.refuse("EntryNotFound")
        owner, name, _, revision, path = place.lstrip("/").split("/", 4)
        files = self._files(f"{owner}/{name}", revision)
        if files is None:
            return
        if path not in files:
            return self.refuse("EntryNotFound")
        self.server.read.append(path)
        self.reply(200, files[path], ETag=f'"{_oid(files[path])}"', X_Repo_Commit=name_of(files))

    do_HEAD = do_GET

    def _files(self, repo: str, revision: str) -> Files | None:
        files = self.server.files(repo, revision)
        if files is None:
            self.refuse("RevisionNotFound" if repo in self.server.commits else "RepoNotFound")
        return files

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, {"error": "Invalid username or password."})
        place = unquote(urlsplit(self.path).path)
        if place == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            known = repo in self.server.commits
            if not known:
                self.server.private[repo] = asked.get("visibility") == "private" or "private" in asked
                self.server.commit(repo, {".gitattributes": b""})
            return self.reply(409 if known else 200, {"url": f"{self.server.url}/{repo}", "id": repo})
        if place == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        owner, name, what, revision = place.removeprefix("/api/models/").split("/")
        repo = f"{owner}/{name}"
        if what == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.reply(200, {"files": modes})
        files = dict(self.server.files(repo, revision) or {})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
        oid = self.server.commit(repo, files)
        self.reply(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{repo}/commit/{oid}"}
        )


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
