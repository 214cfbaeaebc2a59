"""What a spawner knows of whom it spawns for, told to enforcer. Works with DockerSpawner as it is:

    from enforcer_jupyterhub import pre_spawn_hook
    c.Spawner.pre_spawn_hook = pre_spawn_hook
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from .client import Gate, GateError, socket_of_environment

Spawner = Any
"""A spawner of JupyterHub's, which has no types."""


async def pre_spawn_hook(spawner: Spawner) -> None:
    """Tells enforcer. A spawn goes on without: the guest is policed all the same, and its records name its user."""
    path = socket_of_environment()
    if path is None:
        spawner.log.warning("enforcer: DOCKER_HOST is no unix socket, so not the hub's gate; it is told nothing")
        return
    await announce(spawner, Gate(path))


async def announce(spawner: Spawner, gate: Gate) -> bool:
    """Tells a gate; whether it took it."""
    image = getattr(spawner, "image", None)
    try:
        may_use = await gate.announce(
            spawner.user.name,
            spawner.name,
            groups=groups_of(spawner),
            client=client_of(spawner),
            image=image if isinstance(image, str) and image else None,
        )
    except GateError as error:
        spawner.log.warning("enforcer: told nothing of %s: %s", spawner._log_name, error)
        return False
    if may_use is False:
        spawner.log.warning("enforcer: the gate is going to refuse %s: [guests] images does not have it", image)
    return True


def groups_of(spawner: Spawner) -> list[str]:
    """Groups that the hub has the user in."""
    return sorted(group.name for group in spawner.user.groups)


def client_of(spawner: Spawner) -> str | None:
    """Where the user's own request came from; ``None``: it is not known, or somebody else's request started this.

    Behind a proxy other than the hub's own that address is only right with ``JupyterHub.trusted_downstream_ips``.
    """
    handler = spawner.handler
    asker = getattr(handler, "current_user", None)
    if handler is None or asker is None or getattr(asker, "name", None) != spawner.user.name:
        return None
    try:
        return str(ip_address(str(handler.request.remote_ip)))
    except ValueError:
        return None
