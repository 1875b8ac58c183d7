"""A read-only registry on loopback with one image: the static busybox, which sleeps.

It keeps what the distribution API's specification says of pulling: `/v2/` tells the version; manifests are found by
tag and by digest, blobs by digest, each with `Docker-Content-Digest`; HEAD answers as GET does, without the body; what
is not there is 404 with MANIFEST_UNKNOWN, NAME_UNKNOWN or BLOB_UNKNOWN; who does not give the password, if there is
one, gets 401 and UNAUTHORIZED. The manifest is Docker's image manifest, version 2, schema 2, with one gzipped layer.
"""

import gzip
import hashlib
import io
import json
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.serving import Serving

_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_NAME, _TAG = "tools/busybox", "1.0"


class Registry(Serving):
    """Use as `with Registry() as registry`; `image` is what to pull.

    `credentials` (USER:PASSWORD in base64) are wanted from everybody; without `blobs` only the manifest is there.
    """

    def __init__(self, *, credentials: str = "", blobs: bool = True) -> None:
        content = _content(blobs=blobs)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if credentials and self.headers["Authorization"] != f"Basic {credentials}":
                    self.answer(401, *_error("UNAUTHORIZED"))
                elif self.path in content:
                    self.answer(200, *content[self.path])
                elif not self.path.startswith(f"/v2/{_NAME}/"):
                    self.answer(404, *_error("NAME_UNKNOWN"))
                else:
                    self.answer(404, *_error("BLOB_UNKNOWN" if "/blobs/" in self.path else "MANIFEST_UNKNOWN"))

            do_HEAD = do_GET

            def answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.send_header("Docker-Distribution-API-Version", "registry/2.0")
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="lab"')
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.image = f"{self.address}/{_NAME}:{_TAG}"


def _content(*, blobs: bool) -> dict[str, tuple[str, bytes]]:
    """Everything the registry has: path -> content type, body."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
    layer = gzip.compress(tar.getvalue(), mtime=0)
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/busybox", "sleep", "1000"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar.getvalue())]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": _TYPE,
        "config": _described("application/vnd.docker.container.image.v1+json", config),
        "layers": [_described("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
    }).encode()
    return {
        "/v2/": ("application/json", b"{}"),
        **{f"/v2/{_NAME}/manifests/{each}": (_TYPE, manifest) for each in (_TAG, _digest(manifest))},
        **{f"/v2/{_NAME}/blobs/{_digest(each)}": ("application/octet-stream", each)
           for each in (config, layer) if blobs},
    }


def _described(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}


def _error(code: str) -> tuple[str, bytes]:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return "application/json", json.dumps(body).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
