"""JupyterHub on this host, with throw-away accounts, whose guests are policed by enforcer. There is no code of enforcer's in
it: DockerSpawner reads DOCKER_HOST, and that is the hub's gate (see jupyterhub.service and enforcer.toml beside this file).

    pip install jupyterhub==5.4.6 dockerspawner==14.0.0 docker==7.2.0 jupyterhub-tmpauthenticator jupyterhub-idle-culler
    npm install -g configurable-http-proxy
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

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
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
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=1800", "--cull-users"],
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
