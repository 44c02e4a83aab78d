"""The web application: the page, its files and its JSON endpoints. Needs Starlette.

A page of another site that is open in the same browser may send requests to loopback, under a name that it has resolved
to 127.0.0.1 (DNS rebinding). So a request is answered only if its ``Host`` is loopback and its ``Origin``, if there is
one, is this page. Nothing is loaded from elsewhere: the Content-Security-Policy forbids it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from zoo.config.console import printable, warn
from zoo.demo import answers, bodies, diagram, dreams, uploads
from zoo.demo.exhibits import Collection, Exhibit

PAGE = Path(__file__).with_name("page")
HOSTS = ("127.0.0.1", "localhost")
MAX_JSON = 2 * 2**20  # bytes
MAX_PICTURE = 20 * 2**20  # bytes
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]
Compute = Callable[[Exhibit, Request, bytes], dict[str, Any]]


class TooLargeError(ValueError):
    """A body with more bytes than are accepted."""


def make_app(collection: Collection) -> Starlette:
    """The application that shows these checkpoints."""

    # All answers are computed in the same thread, so that OpenMP has one team of threads. The thread is one of an
    # executor, since Python waits for these before it ends; a daemon thread that still computes while Python ends would
    # abort the process.
    executor = ThreadPoolExecutor(max_workers=1)

    def listing(_request: Request) -> Response:
        return JSONResponse({"checkpoints": collection.listing()})

    def endpoint(compute: Compute, limit: int) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                body = await _body(request, limit)
                loop = asyncio.get_running_loop()
                return JSONResponse(await loop.run_in_executor(executor, answered, request, body))
            except TooLargeError as error:
                return _refusal(error, 413)
            except (ValueError, OSError) as error:
                return _refusal(error, 400)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                # A bug of the zoo: the page and the terminal name it, and the server goes on.
                first_line = str(error).strip().partition("\n")[0]
                warn(f"zoo demo: internal error: {type(error).__name__}: {first_line}")
                return _refusal(RuntimeError(f"internal error: {type(error).__name__}: {first_line}"), 500)

        def answered(request: Request, body: bytes) -> dict[str, Any]:
            with collection.use(request.query_params.get("checkpoint", "")) as exhibit:
                return compute(exhibit, request, body)

        return respond

    routes = [
        Route("/", lambda _request: Response((PAGE / "index.html").read_bytes(), media_type="text/html")),
        Route("/api/checkpoints", listing),
        Route("/api/checkpoint", endpoint(_describe, 0)),
        Route("/api/drawing", endpoint(_drawing, MAX_JSON), methods=["POST"]),
        Route("/api/picture", endpoint(_picture, MAX_PICTURE), methods=["POST"]),
        Route("/api/code", endpoint(_code, MAX_JSON), methods=["POST"]),
        Route("/api/dream", endpoint(_dream, MAX_JSON), methods=["POST"]),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=_guard)]
    return Starlette(routes=routes, middleware=middleware)


# The endpoints


def _describe(exhibit: Exhibit, _request: Request, _body: bytes) -> dict[str, Any]:
    net = exhibit.diagram
    return {**answers.describe(exhibit), "diagram": None if net is None else diagram.columns(net)}


def _drawing(exhibit: Exhibit, _request: Request, content: bytes) -> dict[str, Any]:
    body = bodies.parse(content)
    framing = bodies.framing(body.get("framing", exhibit.framing))
    raw = answers.drawn(exhibit, bodies.strokes(body), framing)
    target = bodies.number_or_none(body.get("target"), "target")
    return answers.answer(exhibit, raw, target, brief=body.get("brief") is True)


def _picture(exhibit: Exhibit, request: Request, content: bytes) -> dict[str, Any]:
    query = request.query_params
    framing = bodies.framing(query.get("framing", exhibit.framing))
    target = query.get("target")
    if target is not None and not target.isdecimal():
        raise ValueError("target: must be a whole number")
    raw = answers.pictured(exhibit, uploads.open_picture(content), framing)
    return answers.answer(exhibit, raw, None if target is None else int(target))


def _code(exhibit: Exhibit, _request: Request, content: bytes) -> dict[str, Any]:
    return answers.decoded(exhibit, bodies.code(bodies.parse(content)))


def _dream(exhibit: Exhibit, _request: Request, content: bytes) -> dict[str, Any]:
    body = bodies.parse(content)
    request = bodies.dream(body)
    strokes = bodies.strokes(body)
    raw = None
    if strokes and not request.state:
        raw = answers.drawn(exhibit, strokes, bodies.framing(body.get("framing", exhibit.framing)))
    return dreams.dream(exhibit, request, raw)


# Refusals


async def _guard(request: Request, call_next: Next) -> Response:
    """Refuse requests under another host name and those of other pages; add the headers that keep foreign hosts out."""
    host = request.headers.get("host", "")
    name = host.partition(":")[0].lower()
    origin = request.headers.get("origin")
    if name not in HOSTS:
        response: Response = _refusal(ValueError("only requests to 127.0.0.1 and localhost are answered"), 403)
    elif origin is not None and origin.lower() != f"http://{host.lower()}":
        response = _refusal(ValueError("requests of other pages are refused"), 403)
    else:
        response = await call_next(request)
    response.headers.update(HEADERS)
    return response


async def _body(request: Request, limit: int) -> bytes:
    """The body.

    It is not read if its stated length exceeds the limit; otherwise reading stops after the part that exceeds it.

    Raises:
        TooLargeError: it has more than ``limit`` bytes.
    """
    stated = request.headers.get("content-length", "0")
    parts: list[bytes] = []
    total = int(stated) if stated.isdecimal() else 0
    if total <= limit:
        total = 0
        async for part in request.stream():
            total += len(part)
            if total > limit:
                break
            parts.append(part)
    if total > limit:
        raise TooLargeError(f"the request is too large; at most {limit // 2**20} MiB are accepted")
    return b"".join(parts)


def _refusal(error: Exception, status: int) -> Response:
    return JSONResponse({"error": printable(str(error))}, status_code=status)
