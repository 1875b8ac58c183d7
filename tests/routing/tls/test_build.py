"""What nginx says of its own build, and which way to HTTP/2 that is."""

import pytest

from lictor import errors
from lictor.routing.tls import build
from lictor.routing.tls.build import Build

SAID = "nginx version: {name}\nbuilt with OpenSSL 3.0.19\nTLS SNI support enabled\nconfigure arguments: {modules}"
BOTH = "--with-http_ssl_module --with-http_v2_module"


@pytest.mark.parametrize(("name", "modules", "expected"), [
    ("nginx/1.18.0", BOTH, Build("listen", False)), ("nginx/1.19.3", BOTH, Build("listen", False)),
    ("nginx/1.19.4", BOTH, Build("listen", True)), ("nginx/1.22.1", BOTH, Build("listen", True)),
    ("nginx/1.25.0", BOTH, Build("listen", True)), ("nginx/1.25.1 (Debian)", BOTH, Build("directive", True)),
    ("nginx/1.26.3", BOTH, Build("directive", True)), ("nginx/2.0.0", BOTH, Build("directive", True)),
    ("openresty/1.21.4.1", BOTH, Build("listen", True)), ("nginx/1.26.3", "--with-http_ssl_module", Build("", True))])
def test_the_way_to_http2_is_by_version_and_module(name: str, modules: str, expected: Build) -> None:
    assert build.parse(SAID.format(name=name, modules=modules)) == expected


@pytest.mark.parametrize(("said", "error"), [
    (SAID.format(name="nginx/1.22.1", modules="--with-http_v2_module"), errors.Refused),
    ("", errors.Unavailable), ("nginx version: nginx", errors.Unavailable), ("sh: not found", errors.Unavailable)])
def test_a_build_without_tls_and_one_that_is_not_told(said: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        build.parse(said)
