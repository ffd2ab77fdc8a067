"""A local stand-in for the Hugging Face Hub, with as much of its protocol as pushing and loading a net needs."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Suffix of files that are uploaded separately from the commit, as the Hub requests for large and binary files.
LARGE = ".safetensors"


class HubServer:
    """Repositories in memory: `files[repository][path]` as of the last commit; `requests` lists the requests made."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.private: dict[str, bool] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def commit_of(self, repository: str) -> str:
        content = json.dumps(sorted((k, hashlib.sha256(v).hexdigest()) for k, v in self.files[repository].items()))
        return hashlib.sha1(content.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._note()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.files:
                return self._answer({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
            # Older clients send `private`, newer ones `visibility`.
            private = asked.get("private") or asked.get("visibility") == "private"
            self.hub.files[name], self.hub.private[name] = {}, private
            return self._answer({"url": f"{self.hub.address}/{name}", "name": name, "id": name})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/(.+/.+)/preupload/main", self.path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
            return self._answer(
                {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}
            )
        if self.path.endswith(".git/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            return self._answer(
                {
                    "transfer": "basic",
                    "objects": [
                        {**x, "actions": {"upload": {"href": f"{self.hub.address}/objects/{x['oid']}"}}} for x in asked
                    ],
                }
            )
        if found := re.fullmatch(r"/api/models/(.+/.+)/commit/main", self.path):
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.hub.files[found[1]][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.hub.files[found[1]][value["path"]] = self.hub.objects[value["oid"]]
            sha = self.hub.commit_of(found[1])
            url = f"{self.hub.address}/{found[1]}/commit/{sha}"
            return self._answer({"success": True, "commitOid": sha, "commitUrl": url})
        return self._answer({"error": f"no such call: {self.path}"}, 404)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.removeprefix("/objects/")
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.objects[oid] = content
        self._answer({})

    def do_GET(self) -> None:
        self._note()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/(\w+))?(?:\?.*)?", self.path):
            name, revision = found.groups()
            if name in self.hub.files and revision in (None, "main", self.hub.commit_of(name)):
                files = [{"rfilename": path} for path in self.hub.files[name]]
                return self._answer({"id": name, "sha": self.hub.commit_of(name), "siblings": files})
            error = "RepoNotFound" if name not in self.hub.files else "RevisionNotFound"
            return self._answer({"error": "Not found"}, 404, {"X-Error-Code": error})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+\?.*", self.path):
            files = self.hub.files[found[1]].items()
            oids = {path: hashlib.sha1(content).hexdigest() for path, content in files}
            return self._answer([{"type": "file", "path": k, "size": len(v), "oid": oids[k]} for k, v in files])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", self.path):
            content = self.hub.files.get(found[1], {}).get(found[2])
            if content is not None:
                sha = self.hub.commit_of(found[1])
                tag = hashlib.sha256(content).hexdigest()
                return self._answer(content, 200, {"X-Repo-Commit": sha, "ETag": f'"{tag}"'})
        return self._answer({"error": "Not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the name that the base class looks for

    def _note(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.add(self.headers.get("Authorization"))

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
