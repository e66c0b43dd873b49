"""HTTP/JSON over `WorkflowService`: an ASGI application to serve or to mount.

    app.mount("/workflows", Gateway(client.service))        # in Starlette or FastAPI

The rule a newcomer would get wrong: nothing here knows an RPC. Paths, parameters and bodies stand in the API's own descriptors
(`google.api.http`), and the methods are found on the service by name.
"""

from perdure.web.gateway import Gateway
from perdure.web.http_server import HttpServer

__all__ = ["Gateway", "HttpServer"]
