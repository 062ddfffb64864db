"""`python -m bench`: every figure, one measurement after another."""

from __future__ import annotations

import asyncio

from bench import flood, outage


async def main() -> None:
    """Print them all."""
    for measurement in (flood, outage):
        await measurement.main()


if __name__ == "__main__":
    asyncio.run(main())
