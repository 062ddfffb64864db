"""Topics and topic filters (MQTT 5, section 4.7)."""

from __future__ import annotations


def covers(wide: str, narrow: str) -> bool:
    """
    Whether every topic that filter `narrow` matches is matched by filter `wide` as well.

    A topic is a filter without wildcards, so this one function serves a READ, a WRITE and a SUBSCRIBE.
    """
    if narrow.startswith("$") and not wide.startswith("$"):
        # Section 4.7.2: a filter that starts with a wildcard does not match a topic that starts with `$`.
        return wide == narrow
    wide_levels, narrow_levels = wide.split("/"), narrow.split("/")
    for index, level in enumerate(wide_levels):
        if level == "#":
            return index == len(wide_levels) - 1
        if index >= len(narrow_levels):
            return False
        if level == "+":
            if narrow_levels[index] == "#":
                return False
        elif level != narrow_levels[index]:
            return False
    return len(narrow_levels) == len(wide_levels)


def is_filter(text: str) -> bool:
    """Whether `text` is a well-formed topic filter: not empty, no NUL, wildcards alone in their level, `#` last."""
    levels = text.split("/")
    return (
        0 < len(text.encode("utf-8", "surrogatepass")) <= 65535
        and "\0" not in text
        and all(level in ("+", "#") or not ("+" in level or "#" in level) for level in levels)
        and "#" not in levels[:-1]
    )


def is_topic(text: str) -> bool:
    """Whether `text` is a well-formed topic name: a filter without wildcards."""
    return is_filter(text) and "+" not in text and "#" not in text
