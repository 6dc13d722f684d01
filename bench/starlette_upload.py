"""The yardstick for uploads: a plain Starlette route that takes a form and puts the file into a folder.

Nothing is hashed, looked at or made durable. Without a folder it even leaves the file where Starlette put it:
into a temporary file.

Usage: python -m bench.starlette_upload PORT [FOLDER]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

FOLDER = sys.argv[2] if len(sys.argv) > 2 else ""


async def upload(request: Request) -> JSONResponse:
    async with request.form() as form:
        file = form["file"]
        if not isinstance(file, UploadFile):
            return JSONResponse({}, 400)
        if FOLDER:
            await run_in_threadpool(keep, file)
        return JSONResponse({"size": file.size})


def keep(file: UploadFile) -> None:
    with (Path(FOLDER) / uuid4().hex).open("wb") as kept:
        shutil.copyfileobj(file.file, kept, 256 * 1024)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/files", upload, methods=["POST"])])
    uvicorn.run(
        app, port=int(sys.argv[1]), http="httptools", loop="uvloop", access_log=False, log_level="error"
    )
