"""
libFuzzer over one target, led by coverage: `python -m tests.fuzz.run TARGET SECONDS` (`make fuzz` runs them all).

An input that breaks a promise is written to `crash-*`, `timeout-*` or `oom-*` in the folder it runs in. Its place, once
mended, is `tests/fuzz/corpus/TARGET/`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

# What the targets call: to instrument more takes longer than to fuzz.
PACKAGES = [
    "service.core", "service.mqtt.kura_payload", "service.configuration_file", "service.import_file",
    "service.web.hooks", "service.web.plugin", "service.api.reading", "service.api.documents", "json", "xml.sax",
]  # fmt: skip
# One input: seconds and MiB of the whole process.
LONGEST, LARGEST = 10, 1024

with atheris.instrument_imports(include=PACKAGES):
    from tests.fuzz import seeds
    from tests.fuzz.targets import TARGETS


def escaped(word: bytes) -> str:
    """As libFuzzer reads a dictionary."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    """Fuzz until the time is up, or a promise is broken; libFuzzer ends the process."""
    name, seconds = sys.argv[1], int(sys.argv[2])
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for number, data in enumerate(seeds.all_of(name)):
        (folder / str(number)).write_bytes(data)
    words = folder.with_suffix(".words")
    words.write_text("".join(f'"{escaped(word)}"\n' for word in seeds.WORDS))
    options = [
        f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={LARGEST}", "-max_len=65536",
        f"-dict={words}", "-print_final_stats=1", str(folder),
    ]  # fmt: skip
    try:
        atheris.Setup([sys.argv[0], *options], TARGETS[name])
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        words.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
