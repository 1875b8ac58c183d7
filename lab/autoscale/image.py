"""An image FROM scratch whose instances serve so many requests at a time, for so long each; the others wait in line.
Some of its answers may be errors.

It is this machine's nginx with its Lua module. The time of serving is a sleep, so that a busy machine bends it little.
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from lab.docker import Engine

_NGINX = "/usr/sbin/nginx"
_MODULES = ("/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so")
_LIBRARIES = "/usr/share/lua/5.1/resty"
_LIBRARY = re.compile(r"(/\S+) \(0x")
_DOCKERFILE = """FROM scratch
COPY root /
EXPOSE 8080
STOPSIGNAL SIGQUIT
CMD ["/usr/sbin/nginx", "-c", "/nginx.conf"]
"""
_CONF = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
user root;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
worker_processes 1;
env HOSTNAME;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    init_worker_by_lua_block {{
        free = {{}}  -- when each of those who serve has ended what waits for it
        for number = 1, {image.at_once} do free[number] = 0 end
        answered = 0
        answer = '{{"instance": "' .. (os.getenv("HOSTNAME") or "") .. '"}}'
    }}
    server {{
        listen 8080 backlog=4096;
        location = /health {{ return 200 "ok"; }}
        location = /echo {{
            content_by_lua_block {{
                ngx.req.read_body()
                ngx.print(ngx.req.get_body_data())
            }}
        }}
        location / {{
            content_by_lua_block {{
                ngx.update_time()
                local now, first = ngx.now(), 1
                for number = 2, #free do
                    if free[number] < free[first] then first = number end
                end
                free[first] = math.max(now, free[first]) + {image.service_s}
                ngx.sleep(free[first] - now)
                answered = answered + 1
                if {image.fails_each} > 0 and answered % {image.fails_each} == 0 then ngx.status = 500 end
                ngx.header["Content-Type"] = "application/json"
                ngx.say(answer)
            }}
        }}
    }}
}}
"""


class Image(NamedTuple):
    """The capacity of an instance: `at_once` requests at a time, `service_s` each; every so-many-th answer is a 500."""

    at_once: int
    service_s: float
    fails_each: int = 0  # 0: none is

    @property
    def most_rate(self) -> float:
        """Requests a second that an instance can answer at most."""
        return self.at_once / self.service_s


def build(engine: Engine, tag: str, image: Image) -> None:
    """Build the image in an engine."""
    with tempfile.TemporaryDirectory(dir=engine.scratch) as folder:
        root = os.path.join(folder, "root")
        scripts = glob.glob(f"{_LIBRARIES}/**/*.lua", recursive=True)
        for path in [_NGINX, *_MODULES, *_needed(_NGINX, *_MODULES), *scripts]:
            os.makedirs(root + os.path.dirname(path), exist_ok=True)
            shutil.copy(path, root + path)
        for path in ("tmp", "dev", "etc"):
            os.makedirs(os.path.join(root, path), exist_ok=True)
        _write(root, "nginx.conf", _CONF.format(image=image))
        _write(root, "etc/passwd", "root:x:0:0::/:/\n")
        _write(root, "etc/group", "root:x:0:\n")
        _write(folder, "Dockerfile", _DOCKERFILE)
        engine.docker("build", "-q", "-t", tag, folder)
    engine.built.append(tag)


def _needed(*paths: str) -> list[str]:
    """List the shared libraries that programs need, and what loads them."""
    done = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=True, timeout=30)
    return sorted(set(_LIBRARY.findall(done.stdout)))


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
