"""A throw-away Docker engine with its own folders, socket, pid file and bridge, that leaves the firewall alone.

Published ports go through Docker's own proxy (no iptables rule is written), so it lives beside a running engine.
"""

import ipaddress
import os
import random
import shutil
import subprocess
import tempfile
from typing import Any

import docker
import docker.errors

from lab import leftovers
from lab.daemon import Daemon, stretched, wait_for

_DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
COPY serve /bin/serve
ENV PATH=/bin VERSION={version}{breaks}
EXPOSE 8080
CMD ["/bin/busybox", "sh", "/bin/serve"]
"""
# Answers with its instance's name, and an id of this very start. `rm /www/health` breaks its health; /cgi-bin/slow
# takes two seconds. A release can be bad from the start: BREAKS is start, health or books. Asked to end it cuts what it
# is just answering, unless there was a `touch /graceful`, or GRACEFUL is set.
_SERVE = """
mkdir() { busybox mkdir "$@"; }
[ "$BREAKS" = start ] && { echo "no database to be found"; exit 3; }
mkdir -p /www/api/v1 /www/cgi-bin /tmp
[ "$BREAKS" = health ] && echo "health is not what it was" || echo ok > /www/health
printf '{"instance": "%s", "boot": "%s", "version": "%s", "books": []}\\n' \
  "$(busybox hostname)" "$(busybox cat /proc/sys/kernel/random/uuid)" "$VERSION" > /www/api/v1/books
printf '%s\\n' '#!/bin/busybox sh' 'busybox sleep 2' 'printf "Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n"' \
  'busybox hostname' > /www/cgi-bin/slow
busybox chmod +x /www/cgi-bin/slow
[ "$GRACEFUL" ] && busybox touch /graceful
[ "$BREAKS" = books ] && busybox rm /www/api/v1/books
end() {
  kill $server
  while [ -e /graceful ] && busybox ps | busybox grep -q '[h]ttpd'; do busybox sleep 0.05; done
  exit 0
}
trap end TERM INT
busybox httpd -f -p 8080 -h /www &
server=$!
wait $server
"""


_ETCD_DOCKERFILE = """FROM scratch
COPY . /
ENV PATH=/usr/bin ETCD_DATA_DIR=/data VERSION={version} ETCD_HEARTBEAT_INTERVAL=300 ETCD_ELECTION_TIMEOUT=3000
CMD ["etcd"]
"""  # on a starved machine, members with etcd's usual second hold elections of their own accord


class Engine:
    """One that runs: `environ` makes docker's command and library speak to it. Temporary files are below `scratch`."""

    def __init__(self, url: str = "", *, scratch: str | None = None) -> None:
        self.url, self.scratch = url, scratch
        self.environ = {"DOCKER_HOST": url} if url else {}
        self.built: list[str] = []
        self._api: docker.APIClient | None = None

    def wait_ready(self, timeout_s: float = 60) -> None:
        wait_for(lambda: self.docker("version"), f"dockerd answers on {self.url}", timeout_s)

    def docker(self, *words: str, timeout_s: float = 60) -> str:
        """Run the docker command against this engine and return what it prints."""
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=stretched(timeout_s),
                              env={**os.environ, **self.environ, "DOCKER_BUILDKIT": "0"})
        if done.returncode:
            raise OSError(f"docker {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def build_books(self, tag: str = "books-service:1.0", version: str = "1.0", breaks: str = "") -> str:
        """Build the test image from scratch with a static busybox; returns its tag."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            shutil.copy("/bin/busybox", folder)
            dockerfile = _DOCKERFILE.format(version=version, breaks=f" BREAKS={breaks}" if breaks else "")
            for name, text in {"Dockerfile": dockerfile, "serve": _SERVE}.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            self.docker("build", "-q", "-t", tag, folder)
        self.built.append(tag)
        return tag

    def build_etcd(self, tag: str = "etcd:1", version: str = "1") -> str:
        """Build an image from scratch with Debian's etcd and the libraries that it needs; returns its tag."""
        listed = subprocess.run(["ldd", "/usr/bin/etcd"], capture_output=True, text=True, check=True).stdout.split()
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            for path in ["/usr/bin/etcd", *(word for word in listed if word.startswith("/"))]:
                os.makedirs(folder + os.path.dirname(path), exist_ok=True)
                shutil.copy(path, folder + path)
            with open(os.path.join(folder, "Dockerfile"), "w", encoding="utf-8") as file:
                file.write(_ETCD_DOCKERFILE.format(version=version))
            self.docker("build", "-q", "-t", tag, folder)
        self.built.append(tag)
        return tag

    def build_labelled(self, tag: str, base: str, labels: dict[str, str]) -> None:
        """Build an image that differs from another one by its labels only."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            with open(os.path.join(folder, "Dockerfile"), "w", encoding="utf-8") as file:
                file.write(f"FROM {base}\n" + "".join(f'LABEL "{key}"="{value}"\n' for key, value in labels.items()))
            self.docker("build", "-q", "-t", tag, folder)
        self.built.append(tag)

    def copy(self, image: str, other: "Engine") -> None:
        """Give the other engine an image of ours: no registry, and no file that a crash could leave behind."""
        saved = subprocess.run(["docker", "save", image], capture_output=True, check=True, timeout=stretched(60),
                               env={**os.environ, **self.environ}).stdout
        subprocess.run(["docker", "load"], input=saved, capture_output=True, check=True, timeout=stretched(60),
                       env={**os.environ, **other.environ})

    def containers(self, *filters: str) -> list[str]:
        """Names of all containers, running or not. Filters are KEY=VALUE, as those of `docker ps`."""
        wanted: dict[str, list[str]] = {}
        for key, _, value in (each.partition("=") for each in filters):
            wanted.setdefault(key, []).append(value)
        return sorted(each["Names"][0].removeprefix("/") for each in self._list(wanted))

    def _list(self, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
        """By the API: tests ask this all the time, and the docker command takes ten times as long."""
        try:
            if self._api is None:
                self._api = docker.APIClient(self.url or os.environ.get("DOCKER_HOST"), version="auto", timeout=60)
            found: list[dict[str, Any]] = self._api.containers(all=True, filters=wanted)
        except docker.errors.DockerException as error:
            raise OSError(f"containers of {self.url}: {error}") from error
        return found


class Docker(Engine):
    """The throw-away one. With `external` it is one that runs already: only what is made from our images is removed.
    """

    options: tuple[str, ...] = ("--live-restore",)
    bridge_prefix = "lictor"

    def __init__(self, folder: str, *, external: bool = False) -> None:
        self.folder, self.external = folder, external
        self.run_dir = tempfile.mkdtemp(prefix="lictor-docker-")  # short: a socket's path may have 107 bytes
        super().__init__("" if external else f"unix://{self.run_dir}/docker.sock")
        self.bridge = f"{self.bridge_prefix}{os.getpid()}"
        self.daemon: Daemon | None = None

    def start(self, *, wait: bool = True) -> "Docker":
        if self.external:
            return self
        if not has_link(self.bridge):
            self._add_bridge()
        self.daemon = Daemon([
            "dockerd", "--data-root", f"{self.folder}/docker", "--exec-root", f"{self.run_dir}/exec", "-H", self.url,
            "--pidfile", f"{self.run_dir}/docker.pid", "--bridge", self.bridge, "--iptables=false", "--ip6tables=false",
            "--ip-masq=false", "--ip-forward=false", *self.options,
        ], f"{self.folder}/dockerd.log", {"TMPDIR": self.run_dir})  # where a slow containerd leaves its stacks
        if wait:
            self.wait_ready()
        return self

    def _add_bridge(self) -> None:
        """Add a bridge of a /20, which has room for the bench; 2032 of them fit above 10.128.0.0."""
        listed = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout
        taken = [ipaddress.ip_interface(line.split()[3]).network for line in listed.splitlines()]
        while True:
            own = ipaddress.ip_network(f"10.{random.randrange(128, 255)}.{random.randrange(0, 256, 16)}.0/20")
            if not any(own.overlaps(each) for each in taken):
                break
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", f"{own[1]}/20", "dev", self.bridge], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)

    @property
    def gateway(self) -> str:
        """The address of the bridge: where containers reach this host, and it them by what they publish there."""
        listed = subprocess.run(["ip", "-o", "-4", "addr", "show", "dev", self.bridge], capture_output=True, text=True,
                                check=True).stdout
        return listed.split()[3].partition("/")[0]

    def clear(self) -> None:
        """Remove every container of our own engine; of another one only those made from our images. Docker refuses
        one that it removes already, as a handler asked that was killed since."""
        wait_for(lambda: not self._remove_all(), "no container is left")

    def _remove_all(self) -> list[str]:
        """Remove the containers of now, and return their ids."""
        found = self._list({"ancestor": self.built} if self.external else {}) if self.built or not self.external else []
        ids = [each["Id"] for each in found]
        if ids:
            self.docker("rm", "-f", "-v", *ids, timeout_s=60 + len(ids))
        return ids

    def clear_volumes(self) -> None:
        """Remove every container and volume of our own engine; of another one no volume."""
        self.clear()
        if not self.external:
            wait_for(lambda: not self._remove_volumes(), "no volume is left")

    def _remove_volumes(self) -> list[str]:
        """Remove the volumes of now, and return their names."""
        volumes = self.docker("volume", "ls", "-q").split()
        if volumes:
            self.docker("volume", "rm", "-f", *volumes)
        return volumes

    def stop(self) -> None:
        """Remove the containers, stop the engine, and take down all that it made."""
        try:
            if self.external or self.daemon and self.daemon.running:
                self.clear()
            if self.external and self.built:
                self.docker("rmi", *self.built)
        finally:
            if self.daemon:
                self.daemon.stop()
            leftovers.end_processes(self.run_dir)  # the shim of a container that started or ended just then stays
            subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
            _unmount_below(self.run_dir)
            _unmount_below(self.folder)
            shutil.rmtree(self.run_dir, ignore_errors=True)


def running_engine(folder: str) -> Docker:
    """Find the Docker that runs here, else make a throw-away one; it is not started yet."""
    probe = subprocess.run(["docker", "version"], capture_output=True)
    return Docker(folder, external=probe.returncode == 0)


def has_link(name: str) -> bool:
    """Not looked up in /sys/class/net, which in a network namespace may be that of another."""
    return not subprocess.run(["ip", "link", "show", name], capture_output=True).returncode


def _unmount_below(folder: str) -> None:
    with open("/proc/self/mounts", encoding="utf-8") as file:
        points = [line.split()[1] for line in file]
    for point in sorted((each for each in points if each.startswith(folder + "/")), reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True)
