"""A hub as public sites run it: a proxy of its own, throw-away accounts, a stock DockerSpawner, an idle culler. No code of
enforcer's: the engine is where DOCKER_HOST says."""

import os
import sys

env = os.environ

# The proxy is a service beside the hub, as the hub's own guide has it for sites that restart the hub under their users.
c.JupyterHub.bind_url = env["PUBLIC_URL"]
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = env["PROXY_API"]
# Seconds until a proxy that has started again knows the notebooks; else five minutes.
c.JupyterHub.last_activity_interval = 5
# Guests reach it at their gateway.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_port = int(env["HUB_PORT"])
c.JupyterHub.hub_connect_ip = env["HUB_ADDRESS"]
c.JupyterHub.authenticator_class = env["HUB_AUTHENTICATOR"]
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = env["GUEST_IMAGE"]
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = [env["GUEST_SERVER"], "--allow-root"]
c.DockerSpawner.network_name = env["GUEST_NETWORK"]
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = env["GUEST_REMOVE"] == "True"
c.DockerSpawner.prefix = env["GUEST_PREFIX"]
# The image is the hub's own Python, and has no home.
c.DockerSpawner.notebook_dir = "/home/work"
c.DockerSpawner.volumes = {"jupyterhub-user-{username}": "/home/work"}
c.DockerSpawner.environment = {
    "HOME": "/home/work",
    "JUPYTER_RUNTIME_DIR": "/tmp/runtime",
    # Seconds between a notebook's words to the hub that somebody is there; else five minutes.
    "JUPYTERHUB_ACTIVITY_INTERVAL": "2",
}
# A small machine starts many at once.
c.Spawner.start_timeout = 240
c.Spawner.http_timeout = 240

c.JupyterHub.services = [
    {"name": "enforcer", "api_token": env["ENFORCER_TOKEN"]},
    {"name": "admin", "api_token": env["ADMIN_TOKEN"]},
]
c.JupyterHub.load_roles = [
    {"name": "enforcer", "services": ["enforcer"], "scopes": ["read:users:groups", "admin:groups"]},
    {
        "name": "tester",
        "services": ["admin"],
        "scopes": ["admin:users", "admin:groups", "admin:servers"],
    },
]
if "CULL_AFTER" in env:
    after = env["CULL_AFTER"]
    module = "jupyterhub_idle_culler"
    c.JupyterHub.services.append(
        {
            "name": "culler",
            "command": [sys.executable, "-m", module, f"--timeout={after}", "--cull-every=1", "--cull-users=True"],
        }
    )
    c.JupyterHub.load_roles.append(
        {
            "name": "culler",
            "services": ["culler"],
            "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers", "admin:users"],
        }
    )
