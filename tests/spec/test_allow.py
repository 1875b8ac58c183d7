"""Tables: what a spec asks for, and what a node allows."""

import os
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.spec import allow, service_spec
from lictor.spec.settings import parse_settings


def spec(**keys: Any) -> service_spec.Spec:
    base: dict[str, Any] = {"name": "books", "image": "books:1", **({"engine": "compose"} if "project" in keys else {})}
    return service_spec.parse_spec({**base, **keys}, "test")


def refusals(allowed: dict[str, list[str]], **keys: Any) -> list[str]:
    settings = parse_settings({"allow": allowed}, "/etc/lictor/lictor.toml")
    return allow.refusals(spec(**keys), settings.allow, settings.where)


@pytest.mark.parametrize("keys", [
    {}, {"volumes": ["data:/data", "/anonymous"]}, {"networks": ["backend", "bridge", "default"]},
    {"engine": "command", "image": ""}, {"engine": "none"},
])
def test_what_touches_nothing_of_the_host_is_allowed_by_default(keys: dict[str, Any]) -> None:
    assert refusals({}, **keys) == []


@pytest.mark.parametrize(("keys", "line"), [
    ({"volumes": ["/:/host"]}, "volumes is '/:/host'; this node does not allow it: list '/' in mounts of [allow] in "
                               "/etc/lictor/lictor.toml"),
    ({"volumes": ["/srv/books:/b:ro"]}, "list '/srv/books:ro' in mounts"),
    ({"volumes": ["data:/d", "/run/docker.sock:/s:rw"]}, "list '/run/docker.sock' in mounts"),
    ({"volumes": ["../etc:/etc"]}, "list '../etc' in mounts"), ({"volumes": ["~:/root"]}, "list '~' in mounts"),
    ({"volumes": [":/x"]}, "list '' in mounts"),
    ({"env_file": "/etc/shadow"}, "env_file is '/etc/shadow'; this node does not allow it: list '/etc/shadow' in "
                                  "env_files"),
    ({"env_file": "relative"}, "list 'relative' in env_files"), ({"env_file": "/a\0b"}, "list '/a\\x00b' in env_files"),
    ({"env_file": "/a\udc80"}, "env_file is '/a\\udc80'"), ({"volumes": ["/a\0:/b"]}, "list '/a\\x00' in mounts"),
    ({"volumes": ["/" + "a" * 5000 + ":/b"]}, "in mounts"), ({"env_file": "/" + "a" * 5000}, "in env_files"),
    ({"project": {"folder": "/srv/books"}}, "project.folder is '/srv/books'; this node does not allow it: list "
                                            "'/srv/books' in projects"),
    ({"networks": ["host"]}, "networks is 'host'; this node does not allow it: list 'host' in networks"),
    ({"networks": ["none"]}, "list 'none' in networks"),
    ({"networks": ["backend", "container:db"]}, "list 'container:db' in networks"),
    ({"networks": ["container:*"]}, "list 'container:*' in networks"),
])
def test_what_touches_the_host_is_refused_by_default_in_one_line_that_names_the_setting(
        keys: dict[str, Any], line: str) -> None:
    [refused] = refusals({}, **keys)
    assert line in refused and refused.isprintable() and len(refused) < 550


@pytest.mark.parametrize(("listed", "volume", "allowed"), [
    ("/srv/books", "/srv/books:/b", True), ("/srv/books", "/srv/books:/b:ro", True),
    ("/srv/books", "/srv/books/:/b:rw,rshared", True), ("/srv/books:ro", "/srv/books:/b:ro,z", True),
    ("/srv/books:ro", "/srv/books:/b", False), ("/srv/books:ro", "/srv/books:/b:rw", False),
    ("/srv/books:ro", "/srv/books:/ro", False), ("/srv/books:ro", "/srv/books:/b:nocopy", False),
    ("/srv/books", "/srv/books/sub:/b", False), ("/srv/books", "/srv/booksy:/b", False),
    ("/srv/books", "/srv:/b", False), ("/srv/books", "/srv/books/../../etc:/b", False),
    ("/srv/books", "/srv/books/..:/b", False), ("/srv/books", "/srv/x/../books:/b", False), ("/", "/:/host", True),
])
def test_a_mount_is_exactly_a_path_that_is_listed(listed: str, volume: str, allowed: bool) -> None:
    assert (refusals({"mounts": [listed]}, volumes=[volume]) == []) == allowed


@pytest.mark.parametrize(("listed", "given", "allowed"), [
    ("/env/*", "/env/books", True), ("/env/*", "/env/shop/books", True), ("/env/*", "/env", False),
    ("/env/*", "/environ/x", False), ("/env/*", "/env/../other", False), ("/env/*", "/env/link-out", False),
    ("/env/*", "/env/link-in", True), ("/env/*", "/env/folder-out/x", False), ("/env/books", "/env/books", True),
    ("/env/books", "/env/link-in", True), ("/env/books", "/env/other", False), ("/alias/*", "/env/books", True),
    ("/env/*", "/alias/books", True),
])
@pytest.mark.parametrize("setting", ["env_files", "projects"])
def test_a_tree_is_compared_by_real_paths(tmp_path: Path, setting: str, listed: str, given: str, allowed: bool) -> None:
    for folder in ("env/shop", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for name, target in {"env/link-out": "../other", "env/link-in": "books", "env/folder-out": "/etc",
                         "alias": "env"}.items():
        os.symlink(target, tmp_path / name)
    path = f"{tmp_path}{given}"
    if setting == "projects" and ".." in given:
        return  # a spec with such a folder is none
    keys: dict[str, Any] = {"env_file": path} if setting == "env_files" else {"project": {"folder": path}}
    assert (refusals({setting: [f"{tmp_path}{listed}"]}, **keys) == []) == allowed


@pytest.mark.parametrize(("mounts", "given", "allowed"), [
    (["/env/shop"], "/env/shop/books", False), (["/env/shop:ro"], "/env/shop/books", True),
    (["/env/shop/"], "/env/shop/books", False), (["/env/alias"], "/env/shop/books", False),
    (["/env/shop"], "/env/alias/books", False), (["/env"], "/env/shop/books", False),
    (["/env/sho"], "/env/shop/books", True), (["/env/shop"], "/env/listed/books", True),
    (["/env/listed"], "/env/listed/books", True),  # listed by its very path
])
@pytest.mark.parametrize("setting", ["env_files", "projects"])
def test_what_a_container_may_write_is_in_no_tree(tmp_path: Path, setting: str, mounts: list[str], given: str,
                                                  allowed: bool) -> None:
    for folder in ("env/shop/books", "env/listed/books"):
        (tmp_path / folder).mkdir(parents=True)
    os.symlink("shop", tmp_path / "env/alias")
    path = f"{tmp_path}{given}"
    keys: dict[str, Any] = {"env_file": path} if setting == "env_files" else {"project": {"folder": path}}
    listed = [f"{tmp_path}/env/*", f"{tmp_path}/env/listed/books"]
    assert (refusals({setting: listed, "mounts": [f"{tmp_path}{each}" for each in mounts]}, **keys) == []) == allowed


@pytest.mark.parametrize(("setting", "listed", "keys", "allowed"), [
    ("networks", ["*", "host"], {"networks": ["host"]}, True), ("networks", ["h*"], {"networks": ["host"]}, False),
    ("networks", ["shop-*"], {"networks": ["shop-db"]}, True), ("networks", ["shop-*"], {"networks": ["db"]}, False),
    ("networks", [], {"networks": ["backend"]}, False), ("networks", [], {}, True),
    ("networks", ["container:db"], {"networks": ["container:db"]}, True),
    ("networks", ["container:*"], {"networks": ["container:db"]}, False),
    ("services", ["shop-*", "books"], {}, True), ("services", ["shop-*"], {}, False),
    ("services", ["shop-*"], {"engine": "none"}, False), ("services", ["b*"], {"engine": "command"}, True),
])
def test_names_are_patterns_but_the_host_s_networks_are_not(
        setting: str, listed: list[str], keys: dict[str, Any], allowed: bool) -> None:
    assert (refusals({setting: listed}, **keys) == []) == allowed


@pytest.mark.parametrize(("given", "line"), [
    ({"mounts": ["srv"]}, "allow.mounts is 'srv'; it must be an absolute path"),
    ({"mounts": ["/srv/*"]}, "allow.mounts holds '/srv/*'; it must hold whole paths"),
    ({"projects": ["/srv/*/x"]}, "allow.projects holds '/srv/*/x'; it must hold whole paths, or /FOLDER/*"),
    ({"mounts": "/srv"}, "allow.mounts is '/srv'; it must be a list of strings"),
    *(({"mounts": mounts}, "allow.mounts holds '/srv/a/b', which is in '/srv/a': a container that writes there")
      for mounts in (["/srv/a", "/srv/a/b"], ["/srv/a/b:ro", "/srv/a/"], ["/srv/x/../a", "/srv/a/b/:ro"])),
    ({"mount": []},
     "unknown key allow.mount; did you mean mounts? Known are mounts, env_files, projects, networks, services"),
])
def test_a_bound_that_says_nothing_clear_is_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        parse_settings({"allow": given}, "lictor.toml")
    assert line in str(refused.value)


@pytest.mark.parametrize("mounts", [["/srv/a:ro", "/srv/a/b"], ["/srv/a", "/srv/ab"], ["/", "/srv"], ["/a", "/a:ro"]])
def test_mounts_that_are_no_container_s_to_replace_stand_beside_each_other(mounts: list[str]) -> None:
    assert refusals({"mounts": mounts}, volumes=[f"{mounts[-1].removesuffix(':ro')}:/x:ro"]) == []
