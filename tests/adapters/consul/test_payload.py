import json
from typing import Any

import pytest

from lictor import errors
from lictor.adapters.consul import payload


def entry(service_id: object = "books-1") -> dict[str, Any]:
    return {"Node": {"Node": "node-1", "Address": "10.0.0.1"}, "Checks": [],
            "Service": {"ID": service_id, "Service": "books", "Address": "", "Port": 8080}}


@pytest.mark.parametrize(("given", "reason"), [
    (b"", "not JSON"), (b"[{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 100_000, "not JSON"),
    (b"null", "NoneType"), (b"{}", "dict"), (b'"[]"', "str"), (b"0", "int"),
    (b"[null]", "entry 1 of 1"), (b'[{"Node": {}}, 7]', "entry 1 of 2"),
    (b" " * (payload.LONGEST_BYTES + 1), "bytes"),
])
def test_what_is_no_payload_is_refused_and_never_taken_for_empty(given: bytes, reason: str) -> None:
    with pytest.raises(errors.Refused, match=reason):
        payload.parse(given)


@pytest.mark.parametrize(("text", "read"), [
    ("7", 7), (str(2**64 - 1), 2**64 - 1), ("", payload.HINT), ("-1", payload.HINT), ("²", payload.HINT),
    ("\uff17", payload.HINT), ("9" * 21, payload.HINT), ("9" * 5000, payload.HINT), ("7 ", payload.HINT)])
def test_an_index_is_digits_that_consul_can_have_counted(text: str, read: int) -> None:
    assert payload.index(text) == read


def test_an_empty_list_is_empty() -> None:
    assert payload.parse(b"[]\n") == ([], [])


@pytest.mark.parametrize("bad", [
    7, None, [], {"Node": {}}, {**entry(), "Checks": 1}, {**entry(), "Checks": ["x"]}, entry(["a"]), entry(None),
])
def test_a_malformed_entry_is_skipped_and_named(bad: object) -> None:
    found = payload.parse(json.dumps([entry("books-1"), bad, entry("books-2")]).encode())
    assert [each.service_id for each in found.instances] == ["books-1", "books-2"]
    assert len(found.skipped) == 1 and found.skipped[0].startswith("entry 2 of 3: ")
