"""What a spawner knows of whom it spawns for, told to enforcer. Works with DockerSpawner as it is:

    from enforcer_jupyterhub import pre_spawn_hook
    c.Spawner.pre_spawn_hook = pre_spawn_hook
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from .client import Gate, GateError, socket_of_environment

MOST_GROUPS = 16
MAX_NAME = 255
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
            client=client_of(spawner, getattr(spawner, "enforcer_real_ip", False)),
            image=image if isinstance(image, str) and image else None,
        )
    except GateError as error:
        spawner.log.warning("enforcer: told nothing of %s: %s", spawner._log_name, error)
        return False
    if may_use is False:
        spawner.log.warning("enforcer: the gate is going to refuse %s: [guests] images does not have it", image)
    return True


def groups_of(spawner: Spawner) -> list[str]:
    """Groups that the hub has the user in, as many as a record has room for. The gate refuses what is no name to it,
    and with it all that is said: such a group is left out here."""
    return sorted(filter(is_name, (group.name for group in spawner.user.groups)))[:MOST_GROUPS]


def is_name(name: str) -> bool:
    """Whether the gate takes it as the name of a group."""
    is_seen = name.isprintable() and name == name.strip() and "/" not in name
    return is_seen and 0 < len(name) <= MAX_NAME and name not in (".", "..")


def client_of(spawner: Spawner, believes_real_ip: bool = False) -> str | None:
    """Where the user's own request came from; ``None``: it is not known, or somebody else's request started this.

    The hub believes ``X-Real-Ip`` before all else, and its own proxy passes on what a visitor writes there. So where a
    request has one, the last hop of ``X-Forwarded-For`` counts instead, which that proxy adds itself; unless
    ``believes_real_ip`` says that a server in front sets ``X-Real-Ip``. Behind such a server the address is only right
    with that, or with ``JupyterHub.trusted_downstream_ips``.
    """
    handler = spawner.handler
    asker = getattr(handler, "current_user", None)
    if handler is None or asker is None or getattr(asker, "name", None) != spawner.user.name:
        return None
    request = handler.request
    headers = getattr(request, "headers", None) or {}
    said = request.remote_ip
    if "X-Real-Ip" in headers and not believes_real_ip:
        said = last_hop(headers.get("X-Forwarded-For") or "", trusted_by(request))
    try:
        # A link's name behind an address says nothing elsewhere.
        return str(ip_address(str(said).split("%")[0]))
    except ValueError:
        return None


def last_hop(forwarded_for: str, trusted: Collection[str]) -> str:
    """The last address that is none of the hub's own servers'."""
    hops = [hop.strip() for hop in forwarded_for.split(",")]
    return next((hop for hop in reversed(hops) if hop not in trusted), "")


def trusted_by(request: Any) -> Collection[str]:
    """``JupyterHub.trusted_downstream_ips``, which Tornado keeps with the connection."""
    context = getattr(getattr(request, "connection", None), "context", None)
    return getattr(context, "trusted_downstream", None) or ()
