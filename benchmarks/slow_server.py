"""A service that waits but does not compute, for benchmarks/engine.py.

    python benchmarks/slow_server.py SECONDS

Prints its port, then answers each POST after SECONDS with a score computed from the body's bytes.
It exits when its standard input is closed. One process, no threads: it must not be the bottleneck.
"""

from __future__ import annotations

import asyncio
import sys
import zlib


async def serve(seconds: float) -> None:
    """Answer until standard input ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if seconds:
                    await asyncio.sleep(seconds)
                answer = b'{"score": %.6f}' % (100 * zlib.crc32(body) / 2**32)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
