"""Runs handlers: within their time, in threads where they block, and with every exception given a meaning.

    ClientError, UpstreamError     what the handler wants the client to be told
    past the timeout, no thread    error 100: temporary, the client may try again
    OSError                        error 100: what the handler needs (a database, a service) does not answer
    anything else                  a bug: error 450, which no client repeats by itself

The last two are error 100 in the connect and the refresh hook. There an error that is not temporary would end
the phone's connecting for good, until its user starts the mini-program anew; an SDK that repeats a connect
waits up to 20 seconds between two of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final

import structlog
from msgspec import Raw

from gateway.backend.base import Operations
from gateway.backend.context import Context, SyncContext
from gateway.backend.signatures import PLAIN, Shape, Signature
from gateway.backend.watchdog import Watchdog
from gateway.client import Caller
from gateway.errors import (
    ERROR_BACKEND_FAILED,
    ERROR_INTERNAL,
    ClientError,
    HandlerError,
    UpstreamError,
)
from gateway.protocol import EMPTY_RAW

DEFAULT_THREADS: Final = 32
WAITING_PER_THREAD: Final = 8
"""Calls that may wait for a thread, for each thread there is; the next one is refused."""

log = structlog.get_logger()


class Handler:
    """One function of the team's, and how to call it.

    Arguments:
        label: what it answers, for the log: `rpc order.pay`.
        insistent: its clients come again whatever they are told: every failure of it is temporary.
    """

    __slots__ = ("_read", "_takes", "function", "insistent", "is_async", "label")

    def __init__(
        self, function: Callable[..., Any], label: str, shape: Shape = PLAIN, *, insistent: bool = False
    ) -> None:
        signature = Signature(function, shape)
        self.function = function
        self.label = label
        self.insistent = insistent
        self.is_async = signature.is_async
        self._takes = signature.takes
        self._read = signature.read

    def arguments(self, context: Context | SyncContext, data: Raw, channel: str, event: object) -> list[Any]:
        """What the function is called with. Raises ClientError 107 where the data is not what it takes."""
        read = self._read
        given = (context, context.caller, channel, event, read(data) if read is not None else None)
        return [given[each] for each in self._takes]


class Calls:
    """The running of handlers in one process.

    Arguments:
        timeout: seconds that a handler may take. threads: for handlers without `async`.
    """

    def __init__(self, timeout: float, threads: int = DEFAULT_THREADS) -> None:
        self._timeout = timeout
        self._watchdog = Watchdog(timeout)
        self._threads = Threads(threads)
        self.operations: Operations | None = None

    async def run(
        self, handler: Handler, caller: Caller, data: Raw = EMPTY_RAW, channel: str = "", event: object = None
    ) -> Any:
        """What the handler returns. Raises ClientError or UpstreamError; see the module."""
        watchdog = self._watchdog
        task = watchdog.enter()
        try:
            if handler.is_async:
                context = Context(caller, self.operations)
                return await handler.function(*handler.arguments(context, data, channel, event))
            sync = SyncContext(caller, self.operations, asyncio.get_running_loop())
            arguments = handler.arguments(sync, data, channel, event)
            return await self._threads.run(handler.function, arguments)
        except (ClientError, UpstreamError):
            raise
        except asyncio.CancelledError:
            if watchdog.expired(task):
                detail = f"{handler.label} took more than {self._timeout:g} s"
                log.warning("a handler took too long", handler=handler.label, client=caller.client)
                raise HandlerError(ERROR_INTERNAL, detail) from None
            raise
        except Exception as error:
            raise self.failure(handler, caller, error) from error
        finally:
            watchdog.leave(task)

    def failure(self, handler: Handler, caller: Caller, error: Exception) -> HandlerError:
        """What the client is told of an exception that nobody expected; here it is logged."""
        function = getattr(handler.function, "__qualname__", repr(handler.function))
        log.error(
            "a handler failed",
            handler=handler.label,
            function=function,
            client=caller.client,
            exc_info=error,
        )
        temporary = handler.insistent or isinstance(error, OSError)
        detail = f"{handler.label} failed: {type(error).__name__}"
        return HandlerError(ERROR_INTERNAL if temporary else ERROR_BACKEND_FAILED, detail)

    def resize(self, threads: int) -> None:
        """Before the first call: how many threads there are."""
        self._threads = Threads(threads)

    def close(self) -> None:
        """Take nothing new. A thread that hangs is not waited for."""
        self._threads.close()


class Threads:
    """A bounded number of threads with a bounded queue; they are started when first needed.

    A call whose time is up leaves its thread busy until the function returns: threads cannot be stopped. They
    are daemons, so one that hangs does not keep the process from ending, as those of an executor would.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0
        self._room = threading.Semaphore(count * (1 + WAITING_PER_THREAD))
        self._idle = threading.Semaphore(0)
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    async def run(self, function: Callable[..., Any], arguments: list[Any]) -> Any:
        """The result of `function`. Raises UpstreamError where too many wait already."""
        if not self._room.acquire(blocking=False):
            raise UpstreamError(ERROR_INTERNAL, f"all {self._count} threads for handlers are busy")
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        self._jobs.put((future, functools.partial(context.run, function, *arguments)))
        if not self._idle.acquire(blocking=False) and self._started < self._count:
            self._started += 1
            threading.Thread(target=self._work, name=f"handler-{self._started}", daemon=True).start()
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del job, future, call  # not until the next one comes
            self._room.release()
            self._idle.release()

    def close(self) -> None:
        """Let those that are idle end."""
        for _ in range(self._started):
            self._jobs.put(None)
