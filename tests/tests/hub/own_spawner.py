"""The public hub with enforcer's own spawner in place of the stock one; a user may have servers with names."""

import os

load_subconfig("tmpnb.py")  # noqa: F821

c.JupyterHub.spawner_class = "enforcer_jupyterhub.spawner.EnforcerSpawner"
c.JupyterHub.allow_named_servers = True
c.EnforcerSpawner.enforcer_look_every = 0.5
# A guest that tries the world before it is a notebook, so that there is something to tell while its user waits.
first = f"busybox nc -w 1 {os.environ['WORLD']} 80"
c.DockerSpawner.cmd = ["busybox", "sh", "-c", first + '; exec "$0" "$@"', *c.DockerSpawner.cmd]
