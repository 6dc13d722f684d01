"""The yardstick for `/api/publish`: a bare Starlette route on uvicorn that reads a JSON body and answers one.

Usage: python -m bench.baseline PORT
"""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def publish(request: Request) -> JSONResponse:
    await request.json()
    return JSONResponse({"result": {}})


if __name__ == "__main__":
    app = Starlette(routes=[Route("/api/publish", publish, methods=["POST"])])
    uvicorn.run(
        app, port=int(sys.argv[1]), http="httptools", loop="uvloop", access_log=False, log_level="error"
    )
