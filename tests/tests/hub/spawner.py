"""The same hub with a stock DockerSpawner: no code of enforcer's, and the engine is where DOCKER_HOST says.

What a site would have put right by the gate stays as sites have it: a limit that is too large, a label, the engine's own
socket among the volumes.
"""

import os

load_subconfig("config.py")  # noqa: F821

port = int(os.environ["HUB_PORT"])
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
# Guests reach it at their gateway.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = os.environ["HUB_ADDRESS"]
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.JupyterHub.load_roles = [
    {"name": "enforcer", "services": ["enforcer"], "scopes": ["read:users:groups", "admin:groups"]},
    {
        "name": "tester",
        "services": ["admin"],
        "scopes": ["admin:users", "admin:groups", "admin:servers", "tokens", "access:servers"],
    },
]

c.DockerSpawner.image = os.environ["GUEST_IMAGE"]
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = [os.environ["GUEST_SERVER"], "--allow-root"]
c.DockerSpawner.network_name = os.environ["GUEST_NETWORK"]
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.volumes = {
    "jupyterhub-user-{username}": "/home/work",
    "/var/run/docker.sock": "/var/run/docker.sock",
}
c.DockerSpawner.environment = {"HOME": "/home/work", "JUPYTER_RUNTIME_DIR": "/tmp/runtime"}
c.DockerSpawner.notebook_dir = "/home/work"
c.DockerSpawner.mem_limit = "8G"
c.DockerSpawner.cpu_limit = 0.5
c.DockerSpawner.extra_create_kwargs = {"labels": {"enforcer.user": "root", "course": "taster"}}
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120
