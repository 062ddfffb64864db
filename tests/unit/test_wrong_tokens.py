"""Wrong tokens of the administrators' API: whom they are counted for, and how many."""

from __future__ import annotations

import pytest

from service.web.wrong_tokens import WrongTokens, address_of


def test_a_burst_and_then_one_at_a_time() -> None:
    now = 0.0
    wrong = WrongTokens(0.5, 3, clock=lambda: now)
    assert [wrong.note("a") for _ in range(5)] == [None, None, None, 2, 2]
    assert wrong.note("b") is None
    now = 1.0
    assert wrong.note("a") == 1
    now = 2.0
    assert [wrong.note("a"), wrong.note("a")] == [None, 2]
    now = 1000.0
    assert [wrong.note("a") for _ in range(4)] == [None, None, None, 2]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "10.9.9.9, 198.51.100.7", "198.51.100.7"),
        ("::1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("2001:db8::ffff:1", None, "2001:db8::/64"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("fe80::1%eth0", None, "fe80::/64"),
        (None, "198.51.100.7", ""),
    ],
)
def test_whom_a_call_is_from(peer: str | None, forwarded_for: str | None, address: str) -> None:
    """Only a proxy on this machine is believed, and of what it passes on only what it wrote itself."""
    assert address_of(peer, forwarded_for) == address
