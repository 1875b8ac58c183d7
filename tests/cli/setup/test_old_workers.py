"""What doctor says of nginx's worker_shutdown_timeout: tables, and the real nginx."""

from pathlib import Path

import pytest

from lictor.cli.setup import old_workers
from lictor.cli.setup.findings import Remark
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.nginx import Nginx
from support.routed import set_up


@pytest.mark.parametrize(("text", "seconds"), [
    ("", 0), ("0", 0), ("0s", 0), ("60", 60), ("60s", 60), ("1m", 60), ("1m 30s", 90), ("1h30m", 5400), ("500ms", 0.5),
    ("1d", 86400),
])
def test_times_are_read_as_nginx_reads_them(text: str, seconds: float) -> None:
    assert old_workers.parse_time_s(text) == seconds


@pytest.mark.parametrize(("text", "given"), [
    ("events {}", ""), ("# worker_shutdown_timeout 5s;\nevents {}", ""), ("worker_shutdown_timeout 5s;", "5s"),
    ("worker_shutdown_timeout '1m 30s';", "1m 30s"), ("http { set $x 'worker_shutdown_timeout 5s;'; }", ""),
    ("# configuration file /a:\nuser x;\n# configuration file /b:\nworker_shutdown_timeout 2m;\n", "2m"),
])
def test_the_directive_is_found_where_nginx_finds_it(text: str, given: str) -> None:
    assert old_workers.read_timeout(text) == given


@pytest.mark.parametrize(("given", "drains", "says"), [
    ("60s", {}, "no drain is longer"),
    ("60s", {"books": 60.0, "carts": 30.0}, "Websockets end so long after any change"),
    ("10s", {"books": 60.0, "carts": 5.0}, "books drains for up to 60 s: any change of any service cuts requests"),
    ("10s", {"books": 60.0, "carts": 90.0, "shop": 11.0}, "carts drains for up to 90 s, 2 more for longer than 10s: "),
])
def test_a_limit_below_the_longest_drain_is_a_remark(given: str, drains: dict[str, float], says: str) -> None:
    try:
        said, is_remark = old_workers.judge(given, drains), False
    except Remark as error:
        said, is_remark = str(error), True
    assert says in said and is_remark is ("cuts" in said)


@pytest.mark.daemons
def test_nginx_itself_is_asked(nginx: Nginx, tmp_path: Path) -> None:
    settings: Settings = set_up(str(tmp_path), nginx)
    assert isinstance(settings.nginx, NginxSettings)
    text = Path(nginx.main_conf).read_text()
    with pytest.raises(Remark, match="is 60s; the drains that it is to be compared with are not known"):
        old_workers.examine(settings, settings.nginx, None)
    Path(nginx.main_conf).write_text(text.replace("worker_shutdown_timeout 60s;", ""))
    with pytest.raises(Remark, match="is not set: after a reload an old worker stays until"):
        old_workers.examine(settings, settings.nginx, None)
