"""A server that answers as the Hugging Face hub does for one data set repository in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiohttp import web

COMMIT = "a" * 40


class FakeHub:
    """Serves ``folder`` as the repository ``name``; ``requests`` counts what it was asked."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.requests = 0

    def app(self) -> web.Application:
        app = web.Application()
        files = f"/datasets/{self.name}/resolve/{{revision}}/{{path:.*}}"
        app.router.add_get(files, self.file)
        app.router.add_get(f"/api/datasets/{self.name}/revision/{{revision}}", self.info)
        app.router.add_get(f"/api/datasets/{self.name}/tree/{{revision}}/{{path:.*}}", self.tree)
        app.on_response_prepare.append(self.count)
        return app

    async def count(self, request: web.Request, response: web.StreamResponse) -> None:
        self.requests += 1

    async def file(self, request: web.Request) -> web.Response:
        path = self.folder / request.match_info["path"]
        if not path.is_file():
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return web.Response(status=404, headers=headers)
        content = path.read_bytes()
        headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT}
        return web.Response(body=content, headers=headers)

    async def info(self, request: web.Request) -> web.Response:
        siblings = [{"rfilename": str(path)} for path in self.paths()]
        return web.json_response({"id": self.name, "sha": COMMIT, "siblings": siblings})

    async def tree(self, request: web.Request) -> web.Response:
        under = Path(request.match_info["path"])
        entries = [self.entry(path) for path in self.paths() if under in path.parents]
        return web.json_response(entries)

    def entry(self, path: Path) -> dict[str, object]:
        content = (self.folder / path).read_bytes()
        return {"type": "file", "path": str(path), "size": len(content), "oid": digest(content)}

    def paths(self) -> list[Path]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [path.relative_to(self.folder) for path in found]


def digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
