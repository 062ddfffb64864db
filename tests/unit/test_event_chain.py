"""What is said of a chain of events that is not whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.core.event_chain import TEXTS, Chain, Fault, judge

WHOLE = Chain(
    account_id=1, request_id=7, client_id="gw-1", events=3, last_number=3, head_count=3, head_fits=True, live=True
)
DELETED = replace(WHOLE, live=False, last_kind="request_deleted")
DROPPED = replace(WHOLE, events=0, last_number=None, head_count=3, cut=3, checkpoint=3)

CASES = {
    "an event removed": (replace(WHOLE, events=2, bad_number=3, bad_step=2), 2, Fault.REMOVED),
    "three removed": (replace(WHOLE, last_number=9, head_count=9, bad_number=8, bad_step=4), 5, Fault.REMOVED),
    "an event edited": (replace(WHOLE, bad_number=2, bad_step=1), 2, Fault.EDITED),
    "one with a number that is there": (replace(WHOLE, bad_number=2, bad_step=0), 2, Fault.ADDED),
    "one behind the end": (replace(WHOLE, last_number=4, bad_number=4, bad_step=1), 4, Fault.ADDED),
    "one far behind the end": (replace(WHOLE, last_number=9, bad_number=9, bad_step=6), 9, Fault.ADDED),
    "the head set back": (replace(WHOLE, head_count=2), 3, Fault.ADDED),
    "the last removed": (replace(WHOLE, events=2, last_number=2), 3, Fault.CUT_OFF),
    "all removed": (replace(WHOLE, events=0, last_number=None), 1, Fault.CUT_OFF),
    "another head": (replace(WHOLE, head_fits=False), 3, Fault.HEAD_CHANGED),
    "no head": (replace(WHOLE, head_count=None), 4, Fault.REQUEST_REMOVED),
    "no head of an account": (replace(WHOLE, request_id=0, head_count=None), 4, Fault.HEAD_CHANGED),
    "a request removed by hand": (replace(DELETED, last_kind="request_created"), 4, Fault.REQUEST_REMOVED),
    "rolled back behind a checkpoint": (replace(WHOLE, checkpoint=5), 4, Fault.CUT_OFF),
    "another link at a checkpoint": (replace(WHOLE, checkpoint=2, checkpoint_fits=False), 2, Fault.EDITED),
    "a forged checkpoint": (replace(WHOLE, checkpoint=2, seals_fit=False), 2, Fault.CHECKPOINT_CHANGED),
    "cut off up to what was dropped": (replace(DROPPED, head_count=5), 4, Fault.CUT_OFF),
    "dropped, and the head changed": (replace(DROPPED, head_fits=False), 3, Fault.HEAD_CHANGED),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong(case: str) -> None:
    chain, number, fault = CASES[case]
    broken = judge(chain)
    assert broken is not None
    assert (broken.number, broken.fault, broken.text) == (number, fault, TEXTS[fault])
    assert (broken.account_id, broken.request_id, broken.client_id) == (1, chain.request_id, "gw-1")


@pytest.mark.parametrize(
    "chain", [WHOLE, DELETED, DROPPED, replace(DROPPED, live=False), replace(WHOLE, cut=1, events=2, checkpoint=2)]
)
def test_a_whole_chain(chain: Chain) -> None:
    assert judge(chain) is None


def test_every_fault_is_found_and_explained() -> None:
    assert {fault for _, _, fault in CASES.values()} == set(Fault) == set(TEXTS)
