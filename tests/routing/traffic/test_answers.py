"""What became of a request, as tables: nginx's variables, and what they count as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.routing.traffic import answers
from lictor.routing.traffic.answers import ANSWER, CUT, ERROR, LEFT, OWN, UNANSWERED, UPGRADE, Outcome, Request, judge


@pytest.mark.parametrize(("request_", "outcome"), [
    (Request(200, True, "200", "0.250", "0.001"), Outcome(ANSWER, 0.25)),
    (Request(404, True, "404", "0.002", "0.000"), Outcome(ANSWER, 0.002)),
    (Request(304, True, "304", "0.002", "0.000"), Outcome(ANSWER, 0.002)),
    (Request(500, True, "500", "0.250", "0.001"), Outcome(ERROR, 0.25)),
    (Request(502, True, "502", "0.250", "0.001"), Outcome(ERROR, 0.25)),  # it broke off before the head
    (Request(502, True, "502", "0.000", "-"), Outcome(UNANSWERED)),  # nobody listens
    (Request(502, True, "502, 502", "0.000, 0.000", "-, -"), Outcome(UNANSWERED, 0.0, 1)),
    (Request(504, True, "504", "60.000", "0.001"), Outcome(ERROR, 60.0)),
    (Request(504, True, "504", "2.000", "-"), Outcome(UNANSWERED, 2.0)),  # no connection within the time limit
    (Request(503, True, "-", "-", "-"), Outcome(UNANSWERED)),  # there is no peer
    (Request(500, True, "", "", ""), Outcome(UNANSWERED)),
    (Request(200, True, "502, 200", "2.001, 0.100", "-, 0.001"), Outcome(ANSWER, 0.1, 1)),
    (Request(504, True, "502, 504", "0.000, 60.000", "-, 0.001"), Outcome(ERROR, 60.0, 1)),
    (Request(499, False, "-", "0.700", "0.001"), Outcome(LEFT, 0.7)),  # before anything of the answer came
    (Request(499, False, "-", "-", "-"), Outcome(CUT)),
    (Request(200, False, "200", "0.700", "0.001"), Outcome(CUT, 0.7)),  # cut after the head
    (Request(101, True, "101", "3600.000", "0.001"), Outcome(UPGRADE, 3600.0)),
    (Request(101, False, "101", "3600.000", "0.001"), Outcome(UPGRADE, 3600.0)),
    (Request(413, True, "-", "-", "-"), Outcome(OWN)),
    (Request(200, True, "504 : 200", "60.000 : 0.001", "0.001 : 0.000"), Outcome(ERROR, 60.0)),  # an error page
    (Request(200, True, "502, 200 : 200", "0.000, 0.300 : 5.000", "-, 0.000 : 0.001"), Outcome(ANSWER, 0.3, 1)),
    (Request(200, True, "502", "0.000", "-"), Outcome(UNANSWERED)),  # error_page 502 =200
    (Request(200, True, "500 : 502, 200", "9.000 : 0.000, 0.300", "0.000 : -, 0.000", 1), Outcome(ANSWER, 0.3, 1)),
    (Request(503, True, "500", "9.000", "0.000", 1), Outcome(UNANSWERED)),  # the service has no peer
])
def test_each_kind_of_answer_counts_as_what_it_is(request_: Request, outcome: Outcome) -> None:
    assert judge(request_) == outcome


TOOK = Request(200, True, "200", "0.250", "0.001")
FAILED = Request(500, True, "500", "0.250", "0.001")
LATE = Request(504, True, "504", "60.000", "0.001")
GREEN, BLUE, CANARY = "10.0.1.1:80", "[fd00::1]:80", " 10.0.1.1:80 10.0.1.11:80 "


@pytest.mark.parametrize(("request_", "asked", "counts_as"), [
    (TOOK, GREEN, "na"), (TOOK, BLUE, "ba"), (TOOK, "10.0.1.1:8", "ba"), (TOOK, "-", ""), (TOOK, "", ""),
    (FAILED, GREEN, "ne"), (FAILED, BLUE, "be"), (LATE, GREEN, "ne"), (LATE, BLUE, "be"),
    (Request(502, True, "502", "0.000", "-"), GREEN, "ne"), (Request(502, True, "502", "0.000", "-"), BLUE, "be"),
    # an instance that gave no answer erred, on either side, whoever answered then
    (Request(200, True, "502, 200", "0.000, 0.100", "-, 0.001"), f"{GREEN}, {BLUE}", "ne"),
    (Request(200, True, "502, 200", "0.000, 0.100", "-, 0.001"), f"{BLUE}, {GREEN}", "be"),
    (Request(500, True, "502, 500", "0.000, 0.100", "-, 0.001"), f"{BLUE}, {GREEN}", "be"),
    (Request(499, False, "-", "0.700", "0.001"), GREEN, ""), (Request(499, False, "-", "0.700", "0.001"), BLUE, ""),
    (Request(499, False, "502, -", "0.000, 0.700", "-, 0.001"), f"{GREEN}, {BLUE}", "ne"),
    (Request(200, False, "200", "0.700", "0.001"), GREEN, ""),
    (Request(101, True, "101", "3600.000", "0.001"), GREEN, ""),
    (Request(503, True, "-", "-", "-"), "-", ""), (Request(503, True, "", "", ""), "", ""),  # nobody was asked
    (Request(200, True, "500 : 200", "9.000 : 0.300", "0.000 : 0.000", 1), f"{BLUE} : {GREEN}", "na"),
    (Request(200, True, "500 : 200", "9.000 : 0.300", "0.000 : 0.000", 1), f"{GREEN} : {BLUE}", "ba"),
    (Request(200, True, "500 : 200", "9.000 : 0.300", "0.000 : 0.000"), f"{GREEN} : {BLUE}", "ne"),
])
def test_what_a_request_counts_as_for_the_side_that_it_asked_first(request_: Request, asked: str,
                                                                   counts_as: str) -> None:
    def side_of(canary: str) -> str:
        outcome = judge(request_._replace(asked=asked, canary=canary))
        return outcome.side + outcome.kind_of_side if outcome.kind_of_side else ""

    assert side_of(CANARY) == counts_as
    assert side_of(" ") == counts_as.replace("n", "b")  # the log tells only a canary's address that was asked first
    assert side_of("") == side_of("-") == ""  # there is no canary


@given(st.integers(100, 599), st.booleans(), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20),
       st.integers(0, 3))
def test_whatever_stands_there_it_is_one_of_the_kinds(status: int, is_complete: bool, upstream_status: str, took: str,
                                                      connect: str, earlier: int) -> None:
    outcome = judge(Request(status, is_complete, upstream_status, took, connect, earlier))
    assert outcome.kind in answers.KINDS and outcome.time_s >= 0 and outcome.retries >= 0
