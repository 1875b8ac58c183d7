"""What fails on a node is named where one looks first: by `lictor status` on it and elsewhere, and by its check."""

from collections.abc import Iterator

import pytest

from lab.daemon import wait_for
from lab.docker import Docker
from support import node_faults
from support.node_faults import FAULTS, World

SOON_S = 90  # a busy machine may take as long; a quiet one takes 1 to 6 s


@pytest.fixture(scope="module")
def world(docker_engine: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with node_faults.made(tmp_path_factory.mktemp("truth"), docker_engine) as made:
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_where_one_looks_first(world: World, name: str) -> None:
    fault = FAULTS[name]
    elsewhere = fault.says_elsewhere or fault.says

    def says_here() -> bool:
        fault.hurries(world)
        return fault.says in world.status()

    def says_elsewhere() -> bool:
        fault.hurries(world)
        return elsewhere in world.status_elsewhere()

    def is_checked() -> bool:
        fault.hurries(world)
        status, output = world.check()
        return status in (fault.status, "critical") and fault.says in output

    wait_for(world.is_as_desired, "all is well before", SOON_S)
    fault.breaks(world)
    try:
        wait_for(says_here, f"status says {fault.says!r}", SOON_S)
        wait_for(says_elsewhere, f"status says {elsewhere!r} from another node, too", SOON_S)
        wait_for(is_checked, f"the check is {fault.status}, and says it", SOON_S)
    finally:
        fault.mends(world)
    wait_for(world.is_as_desired, "all is well again", SOON_S)
