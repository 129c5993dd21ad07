"""The usual way to request many URLs at once in Python: aiohttp on uvloop, a task for each URL, and a
semaphore.

`fanout.py URL AT_ONCE` prints its versions. Then, for each number on a line of its input, it requests
this many paths below the URL, and prints the seconds it took and the number of paths that are up.
"""

import asyncio
import json
import platform
import sys
import time

import aiohttp
import uvloop

TIMEOUT = aiohttp.ClientTimeout(total=5)


async def check(session, places, url):
    async with places:
        began = time.monotonic()
        try:
            async with session.get(url) as answer:
                await answer.read()
                status, reason = answer.status, None
        except (aiohttp.ClientError, TimeoutError) as error:
            status, reason = None, type(error).__name__
        latency = int((time.monotonic() - began) * 1000)
        is_up = status is not None and status < 400
        return {"url": url, "is_up": is_up, "reason": reason, "status": status, "latency_ms": latency}


async def check_all(session, base, at_once, count):
    places = asyncio.Semaphore(at_once)
    urls = [f"{base}/{number}" for number in range(count)]
    checks = await asyncio.gather(*(check(session, places, url) for url in urls))
    up = sum(check["is_up"] for check in checks)
    return up, json.dumps({"checks": checks, "totals": {"up": up}})


async def main(base, at_once):
    # The limit is the concurrency, and connections are kept.
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        versions = f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, uvloop {uvloop.__version__}"
        print(versions, flush=True)
        while line := sys.stdin.readline():
            began = time.monotonic()
            up, _ = await check_all(session, base, at_once, int(line))
            print(time.monotonic() - began, up, flush=True)


uvloop.run(main(sys.argv[1], int(sys.argv[2])))
