"""The check that a container's registration gets: the one that its labels ask for, else its HEALTHCHECK. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lictor.adapters.text import printable
from lictor.registrar.ports import Port

_LONGEST_OUTPUT = 500
HEALTH_TTL_S = 60  # a HEALTHCHECK's report holds so long; the registrar repeats it well before

_URL_PATH = re.compile(r"/[!-~]{0,1023}", re.ASCII)
_METHOD = re.compile(r"[A-Za-z]{1,20}", re.ASCII)
_DURATION = re.compile(r"(?=.*[1-9])(?:\d{1,12}(?:\.\d{1,9})?(?:ms|s|m|h)){1,3}", re.ASCII)
_STATUS = re.compile("passing|warning|critical")
BY_TCP = ("check_http", "check_https", "check_tcp", "check_grpc")
_MANNERS = ("check_http_method", "check_https_method", "check_grpc_use_tls", "check_tls_skip_verify", "check_interval",
            "check_timeout", "check_port")  # of a check that another setting asks for
_PROGRAM_KEYS = ("check_cmd", "check_script")
_STATUS_OF_HEALTH = {"healthy": "passing", "unhealthy": "critical"}
_NOT_RUN = ("is not run: a container must not choose what the node runs. Use SERVICE_CHECK_HTTP, _HTTPS, _TCP, _GRPC "
            "or _TTL, or a HEALTHCHECK in the image")

Definition = dict[str, Any]


def make_check(values: Mapping[str, str], port: Port,
               health: Mapping[str, Any] | None) -> tuple[Definition | None, str | None, list[str]]:
    """Make the check to register, if any; a HEALTHCHECK's status for it; and a line for each setting without effect.

    If a program was the only check, the instance is critical until somebody else reports that it passes: nobody
    knows that it does.
    """
    programs = [f"SERVICE_{key.upper()}" for key in _PROGRAM_KEYS if values.get(key)]
    initial = _setting(values, "check_initial_status", "", _STATUS, "passing, warning or critical")
    status = {"Status": initial} if initial else {}
    removal_time = _duration(values, "check_deregister_after")
    removal = {"DeregisterCriticalServiceAfter": removal_time} if removal_time else {}
    probe = _probe(values, port)
    if probe:
        return {**probe, **status, **removal}, None, [f"{key} {_NOT_RUN}" for key in programs]
    idle = _idle(values, port)
    if health and health.get("Status") not in (None, "", "none"):
        reported = _STATUS_OF_HEALTH.get(health["Status"], initial or "critical")
        check = {"Name": "Docker HEALTHCHECK", "TTL": f"{HEALTH_TTL_S}s", "Status": reported, **removal}
        return check, reported, [f"{key} {_NOT_RUN}" for key in programs] + idle
    if programs:
        return {"Name": f"{programs[0]} is not run", "TTL": f"{HEALTH_TTL_S}s", "Status": "critical",
                "Notes": f"{programs[0]} {_NOT_RUN}"}, None, [
                    f"{key} {_NOT_RUN}. Its check is critical until then" for key in programs]
    return None, None, idle


def asked_port(values: Mapping[str, str], port: Port, ports: Iterable[Port]) -> Port:
    """Choose which of the container's ports the check of one asks; raises ValueError if nobody reaches that."""
    text = values.get("check_port")
    found = next((each for each in ports if str(each.number) == text and each.protocol == "tcp"), None)
    if text and not found:
        raise ValueError(f"SERVICE_CHECK_PORT is {text[:100]!r}; it must be a TCP port of the container that can be "
                         "reached as this one can. Publish it")
    return found or port


def health_output(health: Mapping[str, Any]) -> str:
    """Find the first line that a HEALTHCHECK printed last, or its exit code, if it failed."""
    last = (health.get("Log") or [{}])[-1]
    if not last.get("ExitCode"):
        return ""
    lines = [line.strip() for line in str(last.get("Output") or "").split("\n") if line.strip()]
    return printable(lines[0])[:_LONGEST_OUTPUT] if lines else f"exit code {last['ExitCode']}"


def _idle(values: Mapping[str, str], port: Port) -> list[str]:
    """Say in a line, if any, which setting is one of a check that nothing asks for."""
    keys = [key for key in _MANNERS if values.get(key) and port.protocol == "tcp"]
    return [f"SERVICE_{key.upper()} changes nothing: no SERVICE_CHECK_HTTP, _HTTPS, _TCP or _GRPC asks for a check"
            for key in keys[:1]]


def _probe(values: Mapping[str, str], port: Port) -> Definition | None:
    """Make the first check that is asked for, in registrator's order. Nothing can be asked but over TCP."""
    is_tcp = port.protocol == "tcp"
    for scheme in ("http", "https"):
        path = _setting(values, f"check_{scheme}", "", _URL_PATH, "a path such as /health")
        method = _setting(values, f"check_{scheme}_method", "", _METHOD, "a method such as HEAD")
        if path and is_tcp:
            unverified = {"TLSSkipVerify": True} if scheme == "https" and values.get("check_tls_skip_verify") else {}
            return {"HTTP": f"{scheme}://{port.reached_at}{path}", **({"Method": method} if method else {}),
                    **unverified, **_timing(values)}
    ttl = _duration(values, "check_ttl")
    if ttl:
        return {"TTL": ttl}
    if values.get("check_tcp") and is_tcp:
        return {"TCP": port.reached_at, **_timing(values)}
    if values.get("check_grpc") and is_tcp:
        tls = {"GRPCUseTLS": True} if values.get("check_grpc_use_tls") else {}
        unverified = {"TLSSkipVerify": True} if tls and values.get("check_tls_skip_verify") else {}
        return {"GRPC": port.reached_at, **tls, **unverified, **_timing(values)}
    return None


def _timing(values: Mapping[str, str]) -> dict[str, str]:
    timeout = _duration(values, "check_timeout")
    return {"Interval": _duration(values, "check_interval", "10s"), **({"Timeout": timeout} if timeout else {})}


def _duration(values: Mapping[str, str], key: str, default: str = "") -> str:
    return _setting(values, key, default, _DURATION, "a time such as 500ms, 10s or 1m30s")


def _setting(values: Mapping[str, str], key: str, default: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = values.get(key)
    if value and not pattern.fullmatch(value):
        raise ValueError(f"SERVICE_{key.upper()} is {value[:100]!r}; it must be {allowed}")
    return value or default
