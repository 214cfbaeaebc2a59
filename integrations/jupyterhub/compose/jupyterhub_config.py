"""JupyterHub in a container, with throw-away accounts, whose guests are policed by enforcer; see compose.yaml."""

import os
import sys

c = get_config()  # noqa: F821

# The proxy, in the same container; the port is published to this host alone.
c.JupyterHub.bind_url = "http://:8000"
# Guests reach the API at the hub's own address on the guest network: `container = "jupyterhub"` in enforcer.toml.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_port = 8081
c.JupyterHub.hub_connect_ip = "172.30.0.250"
c.JupyterHub.db_url = "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/srv/jupyterhub/cookie_secret"

c.JupyterHub.authenticator_class = "tmpauthenticator.TmpAuthenticator"
c.Authenticator.allow_all = True
c.JupyterHub.concurrent_spawn_limit = 20
c.JupyterHub.active_server_limit = 100
# Seconds: many who come at once are served slowly by a small machine.
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120

# Stock DockerSpawner works as well: "dockerspawner.DockerSpawner".
c.JupyterHub.spawner_class = "enforcer_jupyterhub.spawner.EnforcerSpawner"
c.DockerSpawner.image = "quay.io/jupyter/base-notebook:hub-5.4.6"
c.DockerSpawner.network_name = "tutorials"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.mem_limit = "1G"
c.DockerSpawner.cpu_limit = 1.0

c.JupyterHub.services = [
    {"name": "enforcer", "api_token": os.environ["ENFORCER_TOKEN"]},
    {
        "name": "culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=1800", "--cull-users=true"],
    },
]
c.JupyterHub.load_roles = [
    {"name": "enforcer", "services": ["enforcer"], "scopes": ["read:users:groups", "admin:groups"]},
    {
        "name": "culler",
        "services": ["culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:users"],
    },
]
