"""Reading what Docker and the kernel say of lictor's own containers; the engines' tests do the rest."""

import pytest

from lictor import model
from lictor.engines import own_containers


def test_one_that_has_lost_its_name_is_known_by_its_id() -> None:
    """As a container is for a moment while Docker removes it; and one that others link to has more names."""
    short = {"Id": "ab" * 32, "Names": ["/other/alias", "/books-1"], "Image": "books:1", "Created": 7, "State": "dead",
             "Status": "Dead", "Labels": {"lictor.service": "books", "lictor.number": "1", "lictor.engine": "docker"}}
    assert own_containers._from_list(short).name == "books-1"
    assert own_containers._from_list({**short, "Names": []}) == model.Container(
        id="ab" * 32, name="ab" * 6, service="books", number=1, color="", image="books:1", release="", status="dead",
        created_at=7.0, started_at=7.0, exit_code=None)


TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 020011AC:1F90 010011AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 020011AC:1F91 010011AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   4: 020011AC:1F90 010011AC:C352 06 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize(("remote", "count"), [
    ("0000000000000000FFFF00000100007F", 1), ("00000000000000000000000001000000", 1),
    ("0000000000000000FFFF0000010011AC", 2), ("000080FE000000000000000001000000", 2),
])
def test_connections_of_loopback_do_not_count(remote: str, count: int) -> None:
    row = f"   5: 0000000000000000FFFF0000020011AC:1F90 {remote}:C353 01 0:0 0:0 0 0 0 1\n"
    assert own_containers.count_connections(TABLE + row, {8080}) == count
