"""Templates of the page. Each value is escaped: names, outputs and records are written by others."""

from typing import Any

import jinja2

from lictor.events.page import charts


class Pages:
    """The page's templates, templates/page*.html.j2, and its files."""

    def __init__(self) -> None:
        loader = jinja2.PackageLoader("lictor.routing", "default_templates")  # in a checkout a link to templates/
        self._environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True,
                                               trim_blocks=True, lstrip_blocks=True)
        self._environment.globals.update(draw=charts.draw, chart_width=charts.WIDTH, chart_height=charts.HEIGHT)
        self._environment.filters.update(seconds=_describe_seconds)

    def render(self, template: str, **values: Any) -> bytes:
        return self._environment.get_template(template).render(**values).encode("utf-8", "replace")

    def read(self, name: str) -> bytes:
        """Read a file that is sent as it is."""
        loader = self._environment.loader
        assert loader
        return loader.get_source(self._environment, name)[0].encode()


def _describe_seconds(value: float | None) -> str:
    """Write a response time for people."""
    if value is None:
        return "-"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"
