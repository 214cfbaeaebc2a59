"""A JupyterHub that is asked for users and groups and starts nothing: it has no proxy and nobody logs in."""

import os

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    should_start = False

    async def add_route(self, routespec, target, data):
        pass

    async def delete_route(self, routespec):
        pass

    async def get_all_routes(self):
        return {}


port = int(os.environ["HUB_PORT"])
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "jupyterhub.auth.NullAuthenticator"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = port
# Nobody listens there: it would be the proxy's.
c.JupyterHub.bind_url = f"http://127.0.0.1:{port + 1}"
c.JupyterHub.services = [
    {"name": "enforcer", "api_token": os.environ["ENFORCER_TOKEN"]},
    {"name": "admin", "api_token": os.environ["ADMIN_TOKEN"]},
]
c.JupyterHub.load_roles = [
    # What LIMITATIONS and the example say that a token needs, and no more.
    {"name": "enforcer", "services": ["enforcer"], "scopes": ["read:users:groups", "admin:groups"]},
    {"name": "tester", "services": ["admin"], "scopes": ["admin:users", "admin:groups"]},
]
