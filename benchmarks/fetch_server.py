"""A server that costs little, as a process of its own: a picture for every path, connections kept."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress


async def serve(num_bytes: int) -> None:
    """Print the port, then serve pictures of so many bytes until the process ends; no two paths' are alike."""
    picture = random.Random(0).randbytes(num_bytes)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                name = request.split(b" ", 2)[1].rjust(16, b"/")[-16:]
                head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
                writer.write(head + name + picture[16:])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
