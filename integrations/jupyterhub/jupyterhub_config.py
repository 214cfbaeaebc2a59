"""JupyterHub on this host, with throw-away accounts, whose guests are policed by enforcer. There is no code of enforcer's in
it: DockerSpawner reads DOCKER_HOST, and that is the hub's gate (see jupyterhub.service and enforcer.toml beside this file).

    python3 -m venv /opt/jupyterhub
    /opt/jupyterhub/bin/pip install --require-hashes -r requirements.txt
    npm install -g configurable-http-proxy@5.1.0
"""

import os
import sys

c = get_config()  # noqa: F821

# Visitors come to the proxy; put a server that speaks TLS before it.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
# Guests reach the hub's API at their gateway, and at no other address of this host: `gateway = true, port = 8081` in
# enforcer.toml. enforcer itself asks for groups at loopback. Others outside of this host have no business there: close
# the port to them.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_port = 8081
c.JupyterHub.hub_connect_ip = "172.30.0.1"

c.JupyterHub.authenticator_class = "tmpauthenticator.TmpAuthenticator"
# Anybody may come in: what a visitor may do is enforcer's affair.
c.Authenticator.allow_all = True
# Visitors who come at once wait their turn; beyond so many notebooks, they are told to come back.
c.JupyterHub.concurrent_spawn_limit = 20
c.JupyterHub.active_server_limit = 100
# Seconds: many who come at once are served slowly by a small machine.
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 120

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
# With the package beside this file (`pip install --no-deps .`) records name groups and where a visitor came from, the page
# where visitors wait shows how far enforcer is, and the log says what was denied:
# c.JupyterHub.spawner_class = "enforcer_jupyterhub.spawner.EnforcerSpawner"
# or, with the stock spawner, the first of these alone:
# from enforcer_jupyterhub import pre_spawn_hook
# c.Spawner.pre_spawn_hook = pre_spawn_hook
# An image of your choice, with the same jupyterhub as this one.
c.DockerSpawner.image = "quay.io/jupyter/base-notebook:hub-5.4.6"
# Where guests end up in any case; DockerSpawner looks for their address under this name.
c.DockerSpawner.network_name = "tutorials"
# The hub and the proxy reach guests at their own addresses: nothing is published.
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
# What is more than [guests] in enforcer.toml gives is cut to that, and recorded.
c.DockerSpawner.mem_limit = "1G"
c.DockerSpawner.cpu_limit = 1.0
# Throw-away accounts keep nothing. With accounts that last, a volume for each:
# c.DockerSpawner.volumes = {"jupyterhub-user-{username}": "/home/jovyan/work"}
# Name no Docker socket here: the gate leaves it out, and mounts the user's own where a group of the user's has a grant.

c.JupyterHub.services = [
    # By this token enforcer learns who is in which group; it is the same as in enforcer.toml's token_file.
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
