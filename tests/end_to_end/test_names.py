"""Names that Consul's DNS answers for a set, and those of them that a driver takes: the real Consul and pymongo."""

import signal
from collections.abc import Iterator

import pymongo.errors
import pytest
from pymongo.uri_parser import parse_uri

from lab.consul import Consul
from lab.daemon import wait_for
from support import names

pytestmark = pytest.mark.daemons

MEMBERS = [("10.0.0.5", port) for port in range(27017, 27022)]


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    """One with a set of five members, registered as lictor-registrar does; the third is the primary."""
    found = Consul(str(tmp_path_factory.mktemp("consul")), config=names.CONFIG)
    try:
        found.start()
        for number, (address, port) in enumerate(MEMBERS, start=1):
            found.register({"Name": "books-db", "ID": f"books-db-{number}", "Address": address, "Port": port,
                            "Tags": ["primary" if number == 3 else "secondary"]})
        wait_for(lambda: len(found.passing("books-db")) == len(MEMBERS), "the catalogue has them")
        yield found
    finally:
        found.stop(signal.SIGKILL)


@pytest.mark.parametrize("name", ["books-db.service.consul", "books-db.service.dc1.consul",
                                  "_books-db._tcp.service.consul", "_books-db._tcp.service.dc1.consul"])
def test_all_members_are_answered_with_their_ports(consul: Consul, name: str) -> None:
    """By UDP three of them at a time, and by TCP all."""
    everyone = [f"{address}:{port}" for address, port in MEMBERS]
    assert names.places(name, by_tcp=True) == everyone
    some = names.places(name)
    assert len(some) == 3 and set(some) < set(everyone)


@pytest.mark.parametrize("name", ["primary.books-db.service.consul", "_books-db._primary.service.consul"])
def test_the_primary_is_answered_alone(consul: Consul, name: str) -> None:
    assert names.places(name) == ["10.0.0.5:27019"]


def test_an_address_alone_says_no_port(consul: Consul) -> None:
    assert names.addresses("primary.books-db.service.consul") == ["10.0.0.5"]


@pytest.mark.parametrize(("host", "options", "why"), [
    ("service.dc1.consul", "&srvServiceName=books-db", ""),
    # two labels are too few: then the targets have to be below both
    ("service.consul", "&srvServiceName=books-db", "Invalid SRV host: 0a000005.addr.dc1.consul"),
    # no service is named mongodb, which drivers ask for
    ("service.dc1.consul", "", "does not exist: _mongodb._tcp.service.dc1.consul"),
    ("books-db.service.consul", "", "does not exist: _mongodb._tcp.books-db.service.consul")])
def test_which_names_a_driver_takes(consul: Consul, host: str, options: str, why: str) -> None:
    uri = f"mongodb+srv://{host}/?tls=false&replicaSet=rs0{options}"
    with names.in_use():
        if why:
            with pytest.raises(pymongo.errors.PyMongoError, match=why):
                parse_uri(uri)
        else:
            found = parse_uri(uri)["nodelist"]
            assert len(found) == 3 and {port for _, port in found} < {port for _, port in MEMBERS}
            assert {host for host, _ in found} == {"0a000005.addr.dc1.consul"}
