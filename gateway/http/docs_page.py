"""`/docs` and `/openapi.json`: what can be called over HTTP, from files of this package and from no CDN.

The page is Swagger UI (Apache-2.0), unchanged; its licence lies beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse

STATIC: Final = Path(__file__).parent / "docs_static"
ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui.LICENSE": "text/plain; charset=utf-8",
    "swagger-ui.NOTICE": "text/plain; charset=utf-8",
}
# Swagger UI sets style attributes; scripts come from here alone, and it talks to nobody else.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def docs_router(app: FastAPI) -> APIRouter:
    """The page and the document of `app`."""
    router = APIRouter()

    @router.get("/openapi.json")
    async def document() -> JSONResponse:
        """The OpenAPI document."""
        return JSONResponse(app.openapi(), headers={"Cache-Control": "no-cache"})

    @router.get("/docs")
    async def page() -> FileResponse:
        """The page."""
        return FileResponse(STATIC / "docs.html", media_type="text/html; charset=utf-8", headers=_HEADERS)

    @router.get("/docs/{name}")
    async def asset(name: str) -> FileResponse:
        """Its files: a closed list, so no path of the client reaches the disk."""
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(STATIC / name, media_type=ASSETS[name], headers=_HEADERS)

    return router


def tidy_openapi(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI promises a 422 of its own for each route; here a wrong request gets 400 and a `Problem`."""
    for operations in document["paths"].values():
        for operation in operations.values():
            promised = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(promised.get("content", "")):
                del operation["responses"]["422"]
                operation["responses"].setdefault("400", {"description": "the request is wrong"})
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document
