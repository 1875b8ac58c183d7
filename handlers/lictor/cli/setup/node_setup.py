"""A node that `lictor init` sets up: what was found there, what is asked of it, and the names of what is written."""

import glob
import os
from typing import NamedTuple

from lictor.adapters import files
from lictor.cli.setup import detect
from lictor.cli.setup.install_manifest import Manifest
from lictor.cli.setup.unit_files import REGISTRAR_UNIT, SERVE_UNIT
from lictor.events import script
from lictor.spec.settings import Nginx, Settings

UNITS = "/etc/systemd/system"
SNIPPET = "lictor.conf"


class Setup(NamedTuple):
    """All that `lictor init` goes by."""

    manifest: Manifest
    settings: Settings
    node: detect.Node
    token_file: str

    @property
    def options(self) -> list[str]:
        return script.inherited(self.settings, self.token_file)

    @property
    def residents(self) -> dict[str, str]:
        """The units of the handlers that run all along, by handler."""
        serve = {"lictor-serve": SERVE_UNIT} if self.settings.runs_serve else {}
        return {"lictor-registrar": REGISTRAR_UNIT, **serve}

    @property
    def nginx_unit(self) -> str:
        """The unit that runs the nginx of these settings; "" if no unit does."""
        is_local = self.settings.nginx is not None and not self.settings.nginx.container
        return self.node.nginx_unit if is_local and self.node.has_systemd else ""

    def is_enabled(self, unit: str) -> bool:
        target = "sockets" if unit.endswith(".socket") else "multi-user"
        return os.path.lexists(self.manifest.path(f"{UNITS}/{target}.target.wants/{unit}"))

    @property
    def agent_drop_in(self) -> str:
        return drop_in(self.node.agent_unit)

    def has_lua(self) -> bool:
        """Look where Debian's nginx loads it: without it nginx could not start in live mode. A publication finds out
        whether another file loads it."""
        return bool(glob.glob(self.manifest.path("/etc/nginx/modules-enabled/*lua*")))

    def is_included(self, server: Nginx, what: str) -> bool:
        """Look for `what` of our folder in the files beside and below the main configuration, our own left out."""
        for folder, folders, names in os.walk(self.manifest.path(os.path.dirname(server.main_conf))):
            folders[:] = [each for each in folders if os.path.join(folder, each) != self.manifest.path(server.conf_dir)]
            for path in filter(os.path.isfile, (os.path.join(folder, name) for name in names)):
                lines = (files.read(path) or "").splitlines()
                if any(f"{server.conf_dir}/{what}" in line.split("#")[0] for line in lines):
                    return True
        return False


def drop_in(unit: str) -> str:
    return f"{UNITS}/{unit}.d/lictor.conf"
