"""registrator's own conventions, from its sources (bridge/bridge.go, bridge/util.go, consul/consul.go of version 7):
what it registers of a container that Docker's inspect shows. Function by function, with its quirks."""

import re
from typing import Any

HOST = "vm"
HOST_IP = "10.0.0.7"  # what the host's name resolves to


def registered(container: dict[str, Any], *, internal: bool = False, explicit: bool = False, ip: str = "",
               tags: str = "", use_ip_from_label: str = "",
               joined: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Bodies of /v1/agent/service/register, by id; all of them, also those that Consul would refuse."""
    ports: dict[str, tuple[str, str]] = {  # by exposed port: the host's address and port
        port: ("0.0.0.0", port.partition("/")[0]) for port in container["Config"].get("ExposedPorts") or {}}
    for port, published in (container["NetworkSettings"].get("Ports") or {}).items():
        first = published[0] if published else {}
        ports[port] = (first.get("HostIp") or "0.0.0.0", first.get("HostPort", ""))
    if not internal:
        ports = {port: reached for port, reached in ports.items() if reached[1]}
    found = []
    for port, (host_ip, host_port) in ports.items():
        number, _, protocol = port.partition("/")
        metadata, of_port = _metadata(container["Config"], number)
        if metadata.get("ignore") or explicit and not metadata.get("name"):
            continue
        name = container["Name"][1:]
        service = metadata.get("name") or container["Config"]["Image"].rpartition("/")[2].split(":")[0]
        if len(ports) > 1 and "name" not in of_port:
            service += f"-{number}"
        mode = container["HostConfig"]["NetworkMode"]
        if mode not in ("bridge", "default", "host"):
            host_ip = container["NetworkSettings"]["Networks"].get(mode, {}).get("IPAddress", "")
        if host_ip == "0.0.0.0":
            host_ip = HOST_IP
        own_ip = next((each["IPAddress"] for each in container["NetworkSettings"]["Networks"].values()), "")
        address = own_ip if internal else ip or host_ip
        label = container["Config"]["Labels"].get(use_ip_from_label) if use_ip_from_label else ""
        if label:
            address = label.rpartition("/")[0] or label
        if mode.startswith("container:"):
            assert joined
            address = next((each["IPAddress"] for each in joined["NetworkSettings"]["Networks"].values()), "")
        udp = ["udp"] if protocol == "udp" else []
        at = int(number if internal else host_port)
        body = {
            "ID": metadata.get("id") or ":".join([HOST, name, number, *udp]), "Name": service, "Address": address,
            "Port": at, "Tags": [*_split(metadata.get("tags", "")), *_split(tags), *udp],
            "Meta": {key: value for key, value in metadata.items() if key not in ("id", "tags", "name")},
        }
        check = _check(metadata, f"{address}:{at}")
        found.append(body | ({"Check": check} if check else {}))
    return sorted(found, key=lambda each: str(each["ID"]))


def _metadata(config: dict[str, Any], port: str) -> tuple[dict[str, str], set[str]]:
    metadata: dict[str, str] = {}
    of_port: set[str] = set()
    for entry in [*(config.get("Env") or []), *(f"{key}={value}" for key, value in (config["Labels"] or {}).items())]:
        name, equals, value = entry.partition("=")
        key = name.removeprefix("SERVICE_").lower()
        if not name.startswith("SERVICE_") or not equals or key in of_port:
            continue
        number, _, rest = key.partition("_")
        if re.fullmatch(r"[+-]?\d+", number) and rest:
            if number == port:
                metadata[rest] = value
                of_port.add(rest)
        else:
            metadata[key] = value
    return metadata, of_port


def _split(text: str) -> list[str]:
    """Its recursion puts the last tag first."""
    return [tag.replace("\\,", ",") for tag in re.split(r"(?<!\\),", text) if tag][::-1]


def _check(metadata: dict[str, str], at: str) -> dict[str, Any]:
    check: dict[str, Any] = {}
    for scheme in ("http", "https"):
        if metadata.get(f"check_{scheme}"):
            check["HTTP"] = f"{scheme}://{at}{metadata[f'check_{scheme}']}"
            check["Method"] = metadata.get(f"check_{scheme}_method", "")
            break
    else:
        if metadata.get("check_cmd"):
            check["Args"] = ["check-cmd", metadata["check_cmd"]]
        elif metadata.get("check_script"):
            check["Args"] = [metadata["check_script"]]
        elif metadata.get("check_ttl"):
            check["TTL"] = metadata["check_ttl"]
        elif metadata.get("check_tcp"):
            check["TCP"] = at
        elif metadata.get("check_grpc"):
            check["GRPC"] = at
            check["GRPCUseTLS"] = bool(metadata.get("check_grpc_use_tls"))
            check["TLSSkipVerify"] = check["GRPCUseTLS"] and bool(metadata.get("check_tls_skip_verify"))
        else:
            return {}
    if {"HTTP", "TCP", "GRPC"} & check.keys():
        check["Timeout"] = metadata.get("check_timeout", "")
    if "TTL" not in check:
        check["Interval"] = metadata.get("check_interval") or "10s"
    check["Status"] = metadata.get("check_initial_status", "")
    check["DeregisterCriticalServiceAfter"] = metadata.get("check_deregister_after", "")
    return {key: value for key, value in check.items() if value}
