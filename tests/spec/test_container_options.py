"""Compose's further keys of a container: what is taken, what is refused, and that none changes what is there."""

from typing import Any

import pytest

from lictor import errors
from lictor.planner.desired import MADE_FROM, fingerprint
from lictor.spec import service_spec, spec_file
from lictor.spec.container import options

LEAST: dict[str, Any] = {"name": "books", "image": "books:1"}
LINES = "name: books\nimage: books:1\n"


def parsed(**keys: Any) -> service_spec.Spec:
    return service_spec.parse_spec({**LEAST, **keys}, "")


@pytest.mark.parametrize("text", [
    "tmpfs: /run", "tmpfs: [/run, '/tmp:size=64m,mode=1777', '/a:rw,noexec']", "ulimits: {nofile: 1024}",
    "ulimits: {nofile: {soft: 10, hard: 20}, core: 0, memlock: -1, nproc: {soft: 5, hard: -1}}",
    "extra_hosts: ['db:10.0.0.5', 'six:::1', 'here=host-gateway']", "extra_hosts: {db: 10.0.0.5}", "init: true",
    "healthcheck: {test: curl -f localhost, interval: 5, retries: 2}", "healthcheck: {test: [CMD, /probe]}",
    "healthcheck: {test: [NONE]}", "healthcheck: {disable: true}", "security_opt: [no-new-privileges]",
    "security_opt: ['no-new-privileges:true']", "shm_size: 64m", "dns: 10.0.0.53", "dns: [10.0.0.53, '2001:db8::1']",
    "sysctls: {net.core.somaxconn: 1024}", "sysctls: [net.ipv4.tcp_syncookies=0, kernel.shm_rmid_forced=1]",
    "hostname: books.example.com", "working_dir: /srv/books", "pids_limit: 100", "group_add: [audio, 1000]",
    "pull_policy: always", "pull_policy: never"])
def test_what_compose_takes_is_taken(text: str) -> None:
    spec = service_spec.parse_spec(spec_file.load(LINES + text, "x"), "")
    assert (fingerprint(spec) == fingerprint(parsed())) is text.startswith("pull_policy")


@pytest.mark.parametrize(("text", "said"), [
    ("tmpfs: run", "tmpfs holds 'run'; it must be such as /run or /tmp:size=64m,mode=1777"),
    ("tmpfs: '/run:size=1m,'", "tmpfs holds '/run:size=1m,'"),
    ("tmpfs: {a: b}", "tmpfs is a table; it must be a string"),
    ("ulimits: {files: 5}", "ulimits.files is 'files'; did you mean nofile?"),
    ("ulimits: {nofiles: 5}", "did you mean nofile?"), ("ulimits: {nofile: many}", "ulimits.nofile is 'many'"),
    ("ulimits: {nofile: {soft: 20, hard: 10}}", "ulimits.nofile is 20, at most 10; the soft limit must not be above"),
    ("ulimits: {nofile: -2}", "ulimits.nofile is -2"), ("ulimits: {nofile: {soft: 5}}", "nofile.hard is missing"),
    ("extra_hosts: [db]", "extra_hosts holds 'db:'; it must be such as db:10.0.0.5"),
    ("extra_hosts: {'a b': 10.0.0.5}", "extra_hosts holds 'a b:10.0.0.5'"), ("extra_hosts: {db: here}", "'db:here'"),
    ("healthcheck: {}", "healthcheck: exactly one of test and disable is allowed"),
    ("healthcheck: {test: a, disable: true}", "healthcheck: exactly one of test and disable"),
    ("healthcheck: {test: [curl, a]}", "healthcheck.test begins with 'curl'; a list must be [CMD, PROGRAM, ...]"),
    ("healthcheck: {test: [NONE, a]}", "healthcheck.test begins with 'NONE'"),
    ("healthcheck: {test: a, retries: 0}", "healthcheck.retries is 0; it must be within 1..1000"),
    ("healthcheck: {test: a, interval: 0}", "healthcheck.interval is 0s; it must be at least 1ms"),
    ("healthcheck: {test: {secret: a}}", "healthcheck.test is a table; it must be a string or a list of strings"),
    ("security_opt: [seccomp=unconfined]", "security_opt holds 'seccomp=unconfined'; it must be no-new-privileges"),
    ("security_opt: ['no-new-privileges:false']", "A spec cannot loosen the node's own profiles"),
    ("shm_size: lots", "shm_size: 'lots' is no amount of memory"),
    ("shm_size: 1", "shm_size is 1 bytes; it must be with"),
    ("dns: example.com", "dns holds 'example.com'; it must be IP addresses"),
    ("sysctls: {vm.swappiness: 1}", "sysctls holds 'vm.swappiness'; it must be one that each container has of its own"),
    ("sysctls: {kernel.core_pattern: x}", "sysctls holds 'kernel.core_pattern'"),
    ("ulimits: {nofile: 1, core: {soft: x, hard: 1}}", "ulimits.core.soft is 'x'; it must be a whole number"),
    ("ulimits: {nofile: 1, core: {soft: 1, hard: 1, x: 1}}", "unknown key ulimits.core.x; known are soft, hard"),
    ("hostname: a b", "hostname is 'a b'; it must be a host name"), ("hostname: " + "a" * 64, "at most 63 characters"),
    ("working_dir: srv", "working_dir is 'srv'; it must be an absolute path"),
    ("pids_limit: 0", "pids_limit is 0; it must be within 1..4096"), ("pids_limit: -1", "pids_limit is -1"),
    ("pids_limit: 5000", "pids_limit is 5000"), ("group_add: ['']", "group_add holds ''"),
    ("group_add: ['a b']", "group_add holds 'a b'; it must be names or numbers of groups"),
    ("pull_policy: build", "pull_policy is 'build'; this version knows missing, always, never"),
    ("engine: swarm\npull_policy: always", "pull_policy is for engine docker; Swarm has nothing of the kind"),
    ("engine: swarm\nsecurity_opt: [no-new-privileges]", "security_opt is for engine docker"),
    ("engine: command\ntmpfs: /run", "tmpfs is for containers that lictor makes"),
    ("engine: webhook\npids_limit: 10", "pids_limit is for containers that lictor makes"),
    ("devices: [/dev/sda]", "unknown key devices; did you mean engine: compose (a spec cannot open the node"),
    ("privileged: true", "unknown key privileged; did you mean engine: compose (a spec cannot open the node"),
    ("cap_add: [SYS_ADMIN]", "unknown key cap_add; did you mean engine: compose (a spec cannot"),
    ("pid: host", "unknown key pid; did you mean engine: compose"), ("ipc: host", "did you mean engine: compose"),
    ("secrets: [key]", "unknown key secrets; did you mean env_file or volumes (files of the node"),
    ("configs: [app]", "unknown key configs; did you mean env_file or volumes"),
    ("stop_signal: SIGINT", "unknown key stop_signal; did you mean stop_grace_period (the signal is the image's own"),
    ("tls: true", "unknown key tls; did you mean route.tls"),
])
def test_what_docker_would_not_take_or_a_spec_must_not_ask_is_refused(text: str, said: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        spec_file.load(LINES + text, "x")
    assert said in str(refused.value) and str(refused.value).count("\n") == 0


def test_a_spec_without_them_is_the_release_that_it_was() -> None:
    assert fingerprint(parsed(port=8080, check={"http": "/health"})) == "2bbb020f428c"
    assert fingerprint(parsed(**{key: value for key, value in options.UNUSED.items() if value is not None})) == (
        fingerprint(parsed()))
    assert fingerprint(parsed(port=8080, check={"https": "/health"})) != fingerprint(
        parsed(port=8080, check={"https": "/health", "insecure": True}))
    assert set(options.UNUSED) - set(MADE_FROM) == {"pull_policy"}
    assert all(getattr(parsed(), key) == unused for key, unused in options.UNUSED.items())


def test_the_program_of_a_healthcheck_may_be_a_secret() -> None:
    assert "curl -H token:geheim" in parsed(healthcheck={"test": "curl -H token:geheim"}).secrets
