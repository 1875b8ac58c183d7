"""A plain Python script handler, as one would write it after the articles: payload -> Jinja2 -> file -> HUP.

Arguments: NAME FILE PID_FILE; the payload of a `service` watch on stdin.
"""

import json
import os
import signal
import sys

import jinja2

TEMPLATE = """upstream lictor_{{ name }} {
{% for entry in entries %}
    server {{ entry.Service.Address or entry.Node.Address }}:{{ entry.Service.Port }} max_fails=0;
{% else %}
    server 127.0.0.1:9 down;
{% endfor %}
}
"""


def main(name: str, path: str, pid_file: str) -> None:
    passing = [entry for entry in json.load(sys.stdin)
               if all(check["Status"] == "passing" for check in entry["Checks"])]
    text = jinja2.Template(TEMPLATE).render(
        name=name, entries=sorted(passing, key=lambda entry: str(entry["Service"]["ID"])))
    with open(path, encoding="utf-8") as file:
        if file.read() == text:
            return
    with open(f"{path}.{os.getpid()}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(file.name, path)
    with open(pid_file, encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGHUP)


if __name__ == "__main__":
    main(*sys.argv[1:])
