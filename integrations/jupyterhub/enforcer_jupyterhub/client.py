"""Calls of a hub to enforcer, over the hub's own gate: HTTP on a unix socket, by the standard library alone."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

STAGES = ("unknown", "announced", "asked", "identified", "policed")
"""How far a spawn is, in this order."""

MOST_DENIALS = 100
"""So many are in an answer at most, the newest."""

MAX_HEAD = 16 << 10
MAX_BODY = 4 << 20
KINDS = {
    "denied": "a packet",
    "connect_refused": "a connection",
    "socket_refused": "a unix socket",
    "dns_query": "a name",
    "outside": "a way around",
    "abuse": "abuse",
}
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


class GateError(Exception):
    """The gate did not do it: it refused (``status`` says how), or nobody answered (``status`` is ``None``)."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Hub:
    """Whose socket it is."""

    name: str
    version: str
    networks: tuple[str, ...]


@dataclass(frozen=True)
class Spawn:
    """How far a spawn is; what is known of its container, once it runs."""

    stage: str
    container_id: str | None = None
    container_name: str | None = None
    network: str | None = None
    groups: tuple[str, ...] = ()

    @property
    def is_policed(self) -> bool:
        """Whether the kernel holds its policy."""
        return self.stage == STAGES[-1]


@dataclass(frozen=True)
class Denial:
    """A record of something that a user's notebook was not let do."""

    number: int
    time: str
    kind: str
    reason: str
    destination: str
    process: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Denial:
        """Reads a record; what it does not have is empty."""

        def text(name: str) -> str:
            value = record.get(name)
            return seen(value) if isinstance(value, str) else ""

        number = record.get("event.sequence")
        protocol = record.get("network.iana_number")
        to, port = text("destination.ip") or text("dns.question.name"), record.get("destination.port")
        if protocol in (1, 58):
            # There is none.
            port = None
        if port is not None and ":" in to:
            to = f"[{to}]"
        words = [PROTOCOLS.get(protocol, "") if isinstance(protocol, int) else "", to]
        return cls(
            number=number if isinstance(number, int) else 0,
            time=text("@timestamp"),
            kind=text("event.action"),
            reason=text("event.reason") or text("enforcer.outcome"),
            destination=" ".join(filter(None, words)) + ("" if port is None else f":{port}"),
            process=text("process.name"),
        )

    def __str__(self) -> str:
        by = f" by {self.process}" if self.process else ""
        why = f" ({self.reason})" if self.reason else ""
        to = f" to {self.destination}" if self.destination else ""
        return f"{KINDS.get(self.kind, self.kind)}{to}{by}{why}"


def seen(text: str) -> str:
    """A text of a guest's for a log or a page: what is not printable, an escape or the end of a line, is replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def summary(denials: Iterable[Denial], most: int = 20) -> list[str]:
    """One line for each thing that was denied, however often it was; the most frequent first."""
    counts: dict[str, int] = {}
    for denial in denials:
        counts[str(denial)] = counts.get(str(denial), 0) + 1
    lines = sorted(counts.items(), key=lambda item: -item[1])
    told = [line if count == 1 else f"{line}, {count} times" for line, count in lines[:most]]
    return told + ([f"and {len(lines) - most} other things"] if len(lines) > most else [])


def socket_of_environment(environment: Mapping[str, str] = os.environ) -> str | None:
    """Path of the hub's gate: where ``DOCKER_HOST`` points, if that is a unix socket."""
    host = environment.get("DOCKER_HOST", "")
    return host[len("unix://") :] if host.startswith("unix:///") else None


class Gate:
    """The hub's gate. Each call is a connection of its own."""

    def __init__(self, path: str, timeout: float = 15.0) -> None:
        self.path = path
        self.timeout = timeout

    async def hub(self) -> Hub:
        """Whose socket this is."""
        answer = await self.call("GET", "/enforcer/v1/hub")
        return Hub(
            str(answer.get("hub", "")),
            str(answer.get("version", "")),
            tuple(map(str, answer.get("networks") or ())),
        )

    async def announce(
        self,
        user: str,
        server: str = "",
        *,
        groups: Iterable[str] = (),
        client: str | None = None,
        image: str | None = None,
    ) -> bool | None:
        """Says for whom a container is about to be asked for. Whether the image may be used; ``None``: none was named."""
        said = {"user": user, "server": server, "groups": list(groups), "client": client, "image": image}
        answer = await self.call("POST", "/enforcer/v1/spawns", said)
        may_use = answer.get("image_may_be_used")
        return may_use if isinstance(may_use, bool) else None

    async def spawn(self, user: str, server: str = "", seen: str | None = None) -> Spawn:
        """How far a spawn is: at once if it is not at ``seen``, else when it gets further, or after 10 s."""
        query = {"user": user, "server": server} | ({"seen": seen} if seen else {})
        answer = await self.call("GET", "/enforcer/v1/spawns?" + urlencode(query))
        container = answer.get("container") or {}
        return Spawn(
            str(answer.get("stage", STAGES[0])),
            container.get("id"),
            container.get("name"),
            container.get("network"),
            tuple(container.get("groups") or ()),
        )

    async def denials(self, user: str, server: str = "", after: int = 0) -> tuple[list[Denial], int]:
        """What was denied to the user's running notebook behind a number, and the number to ask with next."""
        query = urlencode({"user": user, "server": server, "after": after})
        answer = await self.call("GET", "/enforcer/v1/denials?" + query)
        return [Denial.of(record) for record in answer.get("records") or ()], int(answer.get("next", after))

    async def call(self, method: str, target: str, body: object = None) -> dict[str, Any]:
        """One call; what it answers."""
        try:
            status, text = await asyncio.wait_for(self._exchange(method, target, body), self.timeout)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError) as error:
            raise GateError(f"{self.path}: {error or type(error).__name__}") from error
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise GateError(f"{self.path}: the answer is no JSON", status) from error
        if not isinstance(answer, dict):
            raise GateError(f"{self.path}: the answer is no object", status)
        if status != 200:
            raise GateError(str(answer.get("message", f"status {status}")), status)
        return answer

    async def _exchange(self, method: str, target: str, body: object) -> tuple[int, bytes]:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: enforcer\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        reader, writer = await asyncio.open_unix_connection(self.path, limit=MAX_HEAD)
        try:
            writer.write(head.encode() + b"\r\n" + content)
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
            length = int(headers.get("content-length", ""))
            if not 0 <= length <= MAX_BODY:
                raise ValueError(f"an answer of {length} bytes")
            return int(lines[0].split(" ")[1]), await reader.readexactly(length)
        except IndexError as error:
            raise ValueError("this is no answer of HTTP") from error
        finally:
            writer.close()
