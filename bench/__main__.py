"""`python -m bench`: every figure, one measurement after another."""

from __future__ import annotations

import asyncio

from bench import bulk_import, flood, hostile_xml, outage, restarts


async def main() -> None:
    """Print them all."""
    for measurement in (hostile_xml, bulk_import, flood, outage, restarts):
        await measurement.main()


if __name__ == "__main__":
    asyncio.run(main())
