"""A JupyterHub on this machine only, for the tests and for `scripts/demo --hub`.

Each user gets a container; the service `volcopy` is started by the Hub. Everything comes from the
environment (HUB_*), see `tests/hub/conftest.py` and `scripts/demo`.
"""

import json
import os
import sys

c = get_config()  # noqa: F821

state = os.environ["HUB_STATE"]
gateway = os.environ["HUB_GATEWAY"]
public, proxy, hub, service = os.environ["HUB_PORTS"].split(",")
setting = json.loads(os.environ.get("HUB_SETTINGS", "{}"))

# --- the Hub itself. Containers reach it, and the service, at the gateway of their network.
c.JupyterHub.bind_url = f"http://127.0.0.1:{public}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = [os.environ["HUB_PROXY"]]
c.ConfigurableHTTPProxy.pid_file = f"{state}/proxy.pid"
c.JupyterHub.hub_bind_url = f"http://{gateway}:{hub}"
c.JupyterHub.hub_connect_url = f"http://{gateway}:{hub}"
c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{state}/cookie_secret"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.shutdown_on_logout = False
c.JupyterHub.cleanup_servers = False  # whoever started this Hub removes the containers

# Anybody with the password is let in: on 127.0.0.1, for tests and the demo only.
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"} if os.environ.get("HUB_ADMIN_PASSWORD") else set()
if os.environ.get("HUB_ADMIN_PASSWORD"):
    c.SharedPasswordAuthenticator.admin_password = os.environ["HUB_ADMIN_PASSWORD"]

# --- a container for each server, its home in a volume
c.JupyterHub.spawner_class = setting.get("spawner", "docker")
c.KeepingDockerSpawner.keep_directory = setting.get("keep", "")
c.KeepingDockerSpawner.keep_quota = setting.get("quota", 1 << 30)
c.DockerSpawner.image = os.environ["HUB_IMAGE"]
c.DockerSpawner.prefix = os.environ["HUB_PREFIX"]
c.DockerSpawner.network_name = os.environ["HUB_NETWORK"]
c.DockerSpawner.remove = bool(setting.get("remove"))
c.DockerSpawner.pull_policy = "skip"
c.DockerSpawner.volumes = setting.get("volumes", {})
c.DockerSpawner.environment = {
    "VOLCOPY_SERVICE_URL": f"http://{gateway}:{service}/services/volcopy/",
    "NB_UID": "1000",
}
c.DockerSpawner.extra_host_config = {"init": False}
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
c.Spawner.debug = False

# --- the service, and who may do what with it (docs/hub.md)
c.JupyterHub.custom_scopes = {
    "custom:volcopy:write": {"description": "Write into servers that may be opened, with volcopy"},
    "custom:volcopy:admin": {
        "description": "Everything with volcopy: every container and volume, hand out and collect",
        "subscopes": ["custom:volcopy:write"],
    },
}
c.JupyterHub.services = [
    {
        "name": "volcopy",
        "url": f"http://{gateway}:{service}",
        "command": [
            sys.executable,
            "-m",
            "jupyter_volcopy",
            "service",
            *setting.get("arguments", []),
        ],
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": [
            "access:servers",
            "custom:volcopy:write",
            "custom:volcopy:admin",
        ],
        "environment": {
            name: os.environ[name]
            for name in ("DOCKER_HOST", "PYTHONPATH", "XDG_STATE_HOME")
            if name in os.environ
        },
    },
]
c.JupyterHub.load_roles = [
    {
        "name": "volcopy-service",
        "services": ["volcopy"],
        "scopes": ["list:users", "read:users", "read:servers", "admin:server_state"],
    },
    {"name": "user", "scopes": ["self", "access:services!service=volcopy"]},
    {
        "name": "server",
        "scopes": [
            "users:activity!user",
            "access:servers!server",
            "access:services!service=volcopy",
            "read:users:name!user",
        ],
    },
    *setting.get("roles", []),
]
c.JupyterHub.load_groups = setting.get("groups", {})
if os.environ.get("HUB_TEST_TOKEN"):
    c.JupyterHub.services.append({"name": "tester", "api_token": os.environ["HUB_TEST_TOKEN"]})
    c.JupyterHub.load_roles.append(
        {
            "name": "tester",
            "services": ["tester"],
            "scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "shares"],
        }
    )
