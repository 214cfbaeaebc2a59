"""For hubs that want more of enforcer than its gate gives without any code: see README.md.

What is said here ends up in records and on the page where a user waits. It opens nothing.
"""

from .client import Denial, Gate, GateError, Hub, Spawn, socket_of_environment
from .hook import announce, pre_spawn_hook

__all__ = [
    "Denial",
    "Gate",
    "GateError",
    "Hub",
    "Spawn",
    "announce",
    "pre_spawn_hook",
    "socket_of_environment",
]
__version__ = "0.1.0"
