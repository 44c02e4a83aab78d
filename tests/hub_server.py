"""A loopback server with the part of the Hugging Face hub's HTTP API that huggingface_hub uses for models."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_secret"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: name -> branch -> list of commits, each {file: content}; the newest commit is last."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, list[str]]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tamper: bytes | None = None  # served in place of every safetensors file

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repository: str, branch: str, files: dict[str, bytes]) -> str:
        """Add a commit with these files and those of the one before."""
        branches = self.repositories.setdefault(repository, {"main": []})
        history = branches.setdefault(branch, [])
        before = self.commits[history[-1]] if history else {}
        name = hashlib.sha1(f"{repository}{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = {**before, **files}
        history.append(name)
        return name


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path)
        if match is None:
            return self.answer(404)
        repository, revision, name = match.groups()
        branches = self.server.repositories.get(repository)
        if branches is None:
            return self.answer(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        commit = branches[revision][-1] if branches.get(revision) else revision
        files = self.server.commits.get(commit)
        if files is None:
            return self.answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Revision not found")
        if name not in files:
            return self.answer(
                404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit
            )
        # A large file is named by its SHA-256, which a tampering server keeps.
        content = files[name]
        etag = (
            hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else hashlib.sha1(content).hexdigest()
        )
        sent = self.server.tamper if self.server.tamper and name.endswith(".safetensors") else content
        return self.answer(200, sent, ETag=f'"{etag}"', X_Repo_Commit=commit)

    def do_PUT(self) -> None:
        self.server.requests.append(f"PUT {self.path}")
        self.server.objects[self.path.rpartition("/")[2]] = self.body()
        self.answer(200)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            url = f"{self.server.address}/{name}"
            if name in self.server.repositories:
                return self.answer(409, {"error": "You already created this model repo", "url": url})
            self.server.repositories[name] = {"main": []}
            self.server.commit(name, "main", {".gitattributes": b""})
            self.server.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
            return self.answer(200, {"url": url, "name": name})
        if self.path == "/api/validate-yaml":
            _, metadata, _ = json.loads(body)["content"].split("---\n", 2)
            known = isinstance(yaml.safe_load(metadata), dict)
            return self.answer(200, {"errors": [] if known else [{"message": "no mapping"}], "warnings": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/([^/?]+)", self.path):
            if match[2] in self.server.repositories[match[1]]:
                return self.answer(409, {"error": "Reference already exists"})
            self.server.repositories[match[1]][match[2]] = list(self.server.repositories[match[1]]["main"])
            return self.answer(200)
        if re.match(r"/api/models/[^/]+/[^/]+/preupload/", self.path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if self.path.partition("?")[0].endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.server.address}/objects/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects}, Content_Type="application/json")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/?]+)", self.path):
            added = {}
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    added[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
                elif item["key"] == "lfsFile":
                    added[item["value"]["path"]] = self.server.objects[item["value"]["oid"]]
            commit = self.server.commit(match[1], match[2], added)
            return self.answer(
                200, {"commitUrl": f"{self.server.address}/{match[1]}/commit/{commit}", "commitOid": commit}
            )
        return self.answer(404)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers within the block."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
