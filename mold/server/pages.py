"""The web console's files: one page for every address below /client, and what it is made of.

The build names its parts after their contents, so browsers keep them for a year; the page itself they ask for again.
A compressed twin beside a file is sent to who takes it. Names are looked up among the files that are there when first
asked for: a path is never put together from a request.
"""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, PlainTextResponse, Response

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
ABSENT = (
    "The API is at /client/api; its model at /client/openapi.json. The web console is not part of this build: "
    "run `make gui` in Mold's source, or install Mold from a wheel.\n"
)


class Pages:
    """The built console in a folder; `headers` go with every answer."""

    def __init__(self, folder: Path, headers: dict[str, str]) -> None:
        self.folder = folder
        self.headers = {**headers, "Vary": "Accept-Encoding"}
        self.built = 0.0
        self.files: dict[str, Path] = {}

    def find(self, name: str) -> Path | None:
        """The file of this name. A newer build is noticed by its page."""
        index = self.folder / "index.html"
        try:
            built = index.stat().st_mtime
        except OSError:
            self.files = {}
            return None
        if built != self.built:
            self.files = {
                str(p.relative_to(self.folder)): p
                for p in self.folder.rglob("*")
                if p.is_file() and p.suffix in KINDS and not p.is_symlink()
            }
            self.built = built
        return self.files.get(name)

    async def answer(self, http: HttpRequest) -> Response:
        """The file that the address names; for any other address below /client the page, which knows its own addresses."""
        name = http.path_params.get("path", "")
        found = self.find(name) if name else None
        lasting = name.startswith("assets/")
        if found is None:
            if lasting or Path(name).suffix in KINDS or ".." in name.split("/"):
                return PlainTextResponse("The web console has no such file.\n", 404, headers=self.headers)
            found = self.find("index.html")
        if found is None:
            return PlainTextResponse(ABSENT, 200 if not name else 404, headers=self.headers)
        return send(http, found, self.headers, lasting=lasting)


def send(http: HttpRequest, path: Path, headers: dict[str, str], *, lasting: bool) -> Response:
    """A file, compressed where that lies ready, or that the browser has it already."""
    twin = path.with_name(f"{path.name}.gz")
    squeezed = "gzip" in http.headers.get("accept-encoding", "") and twin.exists()
    chosen = twin if squeezed else path
    stat = chosen.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}{"-gz" if squeezed else ""}"'
    about = {
        **headers,
        "ETag": tag,
        "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
        **({"Content-Encoding": "gzip"} if squeezed else {}),
    }
    known = {t.strip().removeprefix("W/") for t in http.headers.get("if-none-match", "").split(",")}
    if tag in known:
        return Response(status_code=304, headers=about)
    return FileResponse(chosen, headers=about, media_type=KINDS[path.suffix], stat_result=stat)


__all__ = ["Pages"]
