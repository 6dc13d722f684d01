"""What a handler's parameters mean: found out once, when it is registered.

    async def pay(ctx, order: Order)        who asks; the data, validated as an Order
    def list_stock()                        nothing of it
    async def enter(ctx, channel, data)     in an event of a channel, its name

The context is the parameter annotated `Context`, `SyncContext` or `Caller`, else the first of several that
has no annotation, or one called `ctx`, `context` or `caller`. A parameter called `channel` is the channel, in
the events that have one; one annotated with the class of the event is the event. What is left is the data.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from msgspec import Raw
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from gateway.backend.context import Context, SyncContext
from gateway.client import Caller
from gateway.errors import ERROR_BAD_REQUEST, ClientError, GatewayError
from gateway.protocol import parse_raw

CONTEXT, CALLER, CHANNEL, EVENT, DATA = range(5)
"""What a parameter stands for: the place of its value among all that a handler could be given."""

CONTEXT_NAMES: Final = frozenset({"ctx", "context", "caller"})
DETAIL_LIMIT: Final = 200
"""Characters of what was wrong with the data."""
_NOTHING: Final = inspect.Parameter.empty

Read = Callable[[Raw], Any]
"""The data of a command to the value that the handler is given. Raises ClientError 107."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What an event has to give.

    Attributes:
        channel: the name of one. data: JSON of a client's.
        event: the class of the event as a whole; without `data`, what is not annotated is the event.
    """

    channel: bool = False
    data: bool = True
    event: type | None = None

    def __str__(self) -> str:
        parts = ["a context", *["a channel"] * self.channel, *["the data"] * self.data]
        return ", ".join([*parts, *([f"a {self.event.__name__}"] if self.event else [])])


PLAIN: Final = Shape()


class Signature:
    """How to call one handler.

    Attributes:
        takes: what each parameter stands for, in order.
        read: of the data; None where the handler takes none.
    """

    __slots__ = ("is_async", "read", "takes")

    def __init__(self, handler: Callable[..., Any], shape: Shape) -> None:
        """Raises GatewayError where the parameters make no sense."""
        self.is_async = _is_async(handler)
        self.takes: tuple[int, ...] = ()
        self.read: Read | None = None
        name = getattr(handler, "__qualname__", repr(handler))
        parameters = _parameters(handler)
        annotations = _annotations(handler, name)
        for parameter in parameters:
            annotation = annotations.get(parameter.name, _NOTHING)
            annotation = _NOTHING if annotation in (Any, object) else annotation
            meaning = self._meaning(parameter, annotation, len(parameters), shape)
            if meaning in self.takes or (meaning == DATA and not shape.data):
                raise GatewayError(
                    f"{name}: {parameter.name!r} is one too many, a handler of this event takes {shape}"
                )
            if meaning == CONTEXT:
                self._check_context(name, annotation)
            elif meaning == DATA:
                self.read = _reader(name, parameter, annotation)
            self.takes += (meaning,)

    def _meaning(self, parameter: inspect.Parameter, annotation: Any, count: int, shape: Shape) -> int:
        if annotation is Caller:
            return CALLER
        if isinstance(annotation, type) and issubclass(annotation, (Context, SyncContext)):
            return CONTEXT
        if shape.event is not None and annotation is shape.event:
            return EVENT
        if shape.channel and parameter.name == "channel":
            return CHANNEL
        if annotation is _NOTHING:
            if parameter.name in CONTEXT_NAMES or (not self.takes and count > 1):
                return CONTEXT
            if shape.event is not None and not shape.data:
                return EVENT
        return DATA

    def _check_context(self, name: str, annotation: Any) -> None:
        wanted = Context if self.is_async else SyncContext
        if annotation is not _NOTHING and annotation is not wanted:
            kind = "with" if self.is_async else "without"
            raise GatewayError(f"{name}: a function {kind} async is given a {wanted.__name__}")


def _is_async(handler: Callable[..., Any]) -> bool:
    bare = handler
    while isinstance(bare, functools.partial):
        bare = bare.func
    return inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(
        getattr(bare, "__call__", None)  # noqa: B004 (not whether it can be called)
    )


def _parameters(handler: Callable[..., Any]) -> list[inspect.Parameter]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(handler).parameters.values()
    missing = [each for each in found if each.kind is each.KEYWORD_ONLY and each.default is _NOTHING]
    if missing:
        raise GatewayError(f"{handler!r}: nothing is given by name, so {missing[0].name!r} stays empty")
    return [each for each in found if each.kind in positional]


def _annotations(handler: Callable[..., Any], name: str) -> dict[str, Any]:
    """Those of the parameters; that of the result may name what is imported for type checkers only."""
    function: Any = handler
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    given = {key: value for key, value in getattr(function, "__annotations__", {}).items() if key != "return"}
    if not any(isinstance(each, str) for each in given.values()):
        return given
    around = inspect.getclosurevars(function).nonlocals if inspect.isfunction(function) else {}
    try:
        return typing.get_type_hints(
            SimpleNamespace(__annotations__=given),
            getattr(function, "__globals__", {}),
            dict(around),
            include_extras=True,
        )
    except NameError as error:
        raise GatewayError(
            f"{name}: an annotation cannot be resolved ({error}); import it outside of TYPE_CHECKING, and"
            " define it in the module"
        ) from None


def _reader(name: str, parameter: inspect.Parameter, annotation: Any) -> Read:
    decode = _decoder(name, annotation)
    default = parameter.default

    def read(data: Raw) -> Any:
        if not data:
            if default is not _NOTHING:
                return default
            data = _NULL
        try:
            return decode(data)
        except msgspec.MsgspecError as error:
            detail = _explain(error)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            detail = _cut(".".join(["data", *map(str, first["loc"])]) + f": {first['msg']}")
        except RecursionError:
            detail = "data: nested too deeply"
        # Raised here, so that the value that was wrong does not come along.
        raise ClientError(ERROR_BAD_REQUEST, detail)

    return read


_NULL: Final = Raw(b"null")


def _decoder(name: str, annotation: Any) -> Callable[[Raw], Any]:
    if annotation is _NOTHING:
        return parse_raw
    if annotation is Raw:
        return lambda data: data
    if _is_pydantic(annotation):
        validate = TypeAdapter(annotation).validate_json
        return lambda data: validate(bytes(data))
    try:
        _no_custom_types(msgspec.inspect.type_info(annotation))
        return msgspec.json.Decoder(annotation).decode
    except TypeError as error:
        raise GatewayError(
            f"{name}: data cannot be read as {annotation!r} ({error}); use a dataclass, a msgspec.Struct, a"
            " pydantic model or JSON's own types"
        ) from None


def _is_pydantic(annotation: Any) -> bool:
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_pydantic_dataclass(annotation)
    ):
        return True
    return any(_is_pydantic(each) for each in typing.get_args(annotation))


def _no_custom_types(info: Any) -> None:
    if isinstance(info, msgspec.inspect.CustomType):
        raise TypeError(f"{info.cls.__name__} is no type of JSON")


def _explain(error: msgspec.MsgspecError) -> str:
    """msgspec's text with the field in front: ``Expected `int`, got `str` - at `$.count` ``."""
    what, _, path = str(error).partition(" - at `")
    field = "data" + path.rstrip("`").removeprefix("$")
    missing = re.fullmatch(r"Object missing required field `(.*)`", what, re.DOTALL)
    text = f"{field}.{missing[1]}: is missing" if missing else f"{field}: {what}"
    return _cut(text.replace("`", ""))


def _cut(text: str) -> str:
    # Half of a surrogate pair has no UTF-8, and the name of a field may come from a client.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= DETAIL_LIMIT else f"{text[:DETAIL_LIMIT]}…"
