"""A gate that answers what it was told to, and writes down what it was asked."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Any

Answer = Callable[[str, str, Any], tuple[int, Any]]


class FakeGate:
    """Listens while it is entered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, Any]] = []
        self._dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self._dir.name, "gate.sock")

    async def __aenter__(self) -> FakeGate:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()
        self._dir.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        lengths = [line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Content-Length")]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        said = json.loads(body) if body else None
        self.asked.append((method, target, said))
        status, answer = self.answer(method, target, said)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text)
        await writer.drain()
        writer.close()
