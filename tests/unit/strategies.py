"""What hypothesis draws in more than one place."""

from __future__ import annotations

from hypothesis import strategies as st

# Lone surrogates, which `st.text()` leaves out and which command lines and JSON can hold, and what means something to
# topics, JSON, terminals or databases.
AWKWARD = ["\ud800", "\udcff", "\0", "/", "+", "#", "$", "~", "::", "\\", '"', "[", "\n", "\x1b", "\u2028", "é", "😀"]

any_text = st.lists(st.text(max_size=4) | st.sampled_from(AWKWARD), max_size=6).map("".join)
