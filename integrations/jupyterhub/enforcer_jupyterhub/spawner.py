"""A DockerSpawner that tells enforcer whom it spawns for, its users how far their spawn is, and the hub's log what was
denied to them:

    c.JupyterHub.spawner_class = "enforcer_jupyterhub.spawner.EnforcerSpawner"
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from dockerspawner import DockerSpawner
from traitlets import Bool, Dict, Float, Unicode

from .client import MOST_DENIALS, Gate, GateError, socket_of_environment, summary
from .hook import announce

if TYPE_CHECKING:
    from dockerspawner import DockerSpawner as Base
else:
    # A mixin for whatever spawner speaks with an engine.
    from traitlets.config import Configurable as Base

POLICED = "policed"
MESSAGES = {
    "unknown": (5, "Waiting for the gate"),
    "announced": (10, "The gate expects your server"),
    "asked": (35, "The engine makes your server"),
    "identified": (60, "Your server runs; its network is still closed"),
    "policed": (80, "Your server's network is policed"),
}
"""What the page where a user waits says at each stage, and how far its bar is."""


class EnforcerMixin(Base):
    """To be put before a spawner that is, or behaves like, a DockerSpawner."""

    enforcer_socket = Unicode(
        help="Path of the hub's gate. By default where DOCKER_HOST points; empty: enforcer is told and asked nothing."
    ).tag(config=True)

    enforcer_labels = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        default_value={
            "hub.jupyter.org/username": "{username}",
            "hub.jupyter.org/servername": "{servername}",
        },
        help="""Labels of containers, templates as DockerSpawner has them. Those that [audit] labels names are in records.
        Labels that begin with "enforcer." are the gate's to set: it leaves them out.""",
    ).tag(config=True)

    enforcer_look_every = Float(2.0, help="Seconds between two looks for denials while a user waits.").tag(config=True)

    enforcer_real_ip = Bool(
        False,
        help="""Whether a server in front of the hub sets X-Real-Ip at every request. Else whoever visits can write it:
        where it is there, the last hop of X-Forwarded-For counts as where the visitor came from.""",
    ).tag(config=True)

    _enforcer_after = 0

    def _enforcer_socket_default(self) -> str:
        return socket_of_environment() or ""

    def _gate(self) -> Gate | None:
        return Gate(self.enforcer_socket) if self.enforcer_socket else None

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls the engine; a container that is made gets the labels."""
        if method == "create_container":
            own = {key: self.format_string(value) for key, value in self.enforcer_labels.items()}
            kwargs["labels"] = own | dict(kwargs.get("labels") or {})
        return super().docker(method, *args, **kwargs)

    async def start(self) -> Any:
        """Starts the server, of which enforcer has heard by then."""
        if (gate := self._gate()) is not None:
            await announce(self, gate)
        return await super().start()

    async def stop(self, now: bool = False) -> Any:
        """Stops the server; what was denied to it is in the log first, for afterwards nobody knows it any more."""
        await self._log_denials()
        return await super().stop(now)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """How far the spawn is, as enforcer sees it, and what it denies meanwhile. Ends with the spawn."""
        gate = self._gate()
        if gate is None:
            async for event in super().progress():
                yield event
            return
        seen: str | None = None
        while True:
            if seen != POLICED:
                try:
                    seen, before = (await gate.spawn(self.user.name, self.name, seen)).stage, seen
                except GateError as error:
                    self.log.warning("enforcer: the spawn of %s is not seen: %s", self._log_name, error)
                    yield {"progress": 50, "message": "Starting your server"}
                    return
                if seen != before:
                    done, message = MESSAGES.get(seen, (50, seen))
                    yield {"progress": done, "message": message}
                else:
                    # A gate at which many wait answers at once.
                    await asyncio.sleep(self.enforcer_look_every)
            else:
                await asyncio.sleep(self.enforcer_look_every)
            for line in await self._log_denials():
                yield {"message": f"enforcer denied {line}"}

    async def _log_denials(self) -> list[str]:
        """Puts what was denied since the last look into the log, in a few lines, which it returns."""
        gate = self._gate()
        if gate is None:
            return []
        try:
            denials, self._enforcer_after = await gate.denials(self.user.name, self.name, self._enforcer_after)
        except GateError as error:
            self.log.debug("enforcer: denials to %s are not seen: %s", self._log_name, error)
            return []
        lines = summary(denials)
        if len(denials) >= MOST_DENIALS:
            lines.append(f"and more: these are of the newest {MOST_DENIALS}")
        for line in lines:
            self.log.warning("enforcer denied %s: %s", self._log_name, line)
        return lines


class EnforcerSpawner(EnforcerMixin, DockerSpawner):
    """DockerSpawner with it."""
