"""Calls of methods by their names, over each transport, with messages in JSON."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from typing import Any

from google.protobuf import descriptor_pool, empty_pb2, json_format, message_factory
from google.protobuf.message import Message

import lucky.auth.v1.device_pb2  # noqa: F401
import lucky.message.v1.conversation_pb2  # noqa: F401
from lucky import LuckyError, Session, seal_password
from lucky.auth.v1 import auth_pb2, auth_pb2_grpc
from lucky.client import open_channel
from lucky.error.v1 import error_pb2
from lucky.errors import error_from

TIMEOUT_S = 60


class Calls:
    def __init__(self, url: str) -> None:
        self._url = url
        self._channel = open_channel(url)

    async def close(self) -> None:
        await self._channel.close()

    async def call(self, over: str, step: dict, token: str | None, session: Session | None) -> Any:
        method = step["call"]
        request, response = _messages_of(method)
        if "request_hex" in step:
            request.ParseFromString(bytes.fromhex(step["request_hex"]))
        else:
            json_format.ParseDict(await self._sealed(step.get("request", {})), request)
        timeout_s = step.get("timeout_ms", TIMEOUT_S * 1000) / 1000
        if over == "socket":
            await session.call(method, request, response)
        elif over == "grpc":
            call = self._channel.unary_unary(
                f"/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=type(response).FromString,
            )
            metadata = [("authorization", f"Bearer {token}")] if token else []
            response = await call(request, timeout=timeout_s, metadata=metadata)
        elif over == "connect":
            answer = await asyncio.to_thread(self._post, method, request, token, timeout_s)
            json_format.ParseDict(answer, response, ignore_unknown_fields=True)
        else:
            raise ValueError(f"unknown transport {over!r}")
        return json_format.MessageToDict(response)

    def _post(self, method: str, request: Message, token: str | None, timeout_s: float) -> Any:
        """A call by Connect with JSON, as curl makes it."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = json_format.MessageToJson(request).encode()
        post = urllib.request.Request(f"{self._url}/{method}", body, headers)
        try:
            with urllib.request.urlopen(post, timeout=timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as failed:
            raise _connect_error(json.load(failed)) from failed
        except TimeoutError as failed:
            raise LuckyError("UNAVAILABLE", "no answer", code="deadline_exceeded") from failed

    async def _sealed(self, value: Any) -> Any:
        """Replaces each {$password: text} by an EncryptedPassword."""
        if not isinstance(value, dict):
            return value
        if "$password" in value:
            auth = auth_pb2_grpc.AuthServiceStub(self._channel)
            key = await auth.GetPublicKey(auth_pb2.GetPublicKeyRequest(), timeout=TIMEOUT_S)
            return json_format.MessageToDict(seal_password(key, value["$password"]))
        return {key: await self._sealed(item) for key, item in value.items()}


def _messages_of(path: str) -> tuple[Message, Message]:
    """The request and response of a method; one that the contract does not have has no fields."""
    service, name = path.split("/")
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name.get(name)
    if found is None:
        return empty_pb2.Empty(), empty_pb2.Empty()
    create = message_factory.GetMessageClass
    return create(found.input_type)(), create(found.output_type)()


def _connect_error(body: dict) -> LuckyError:
    for detail in body.get("details", []):
        if detail["type"] == "lucky.error.v1.ErrorDetail":
            padded = detail["value"] + "=" * (-len(detail["value"]) % 4)
            found = error_pb2.ErrorDetail.FromString(base64.b64decode(padded))
            return error_from(found, body.get("message", ""), body["code"])
    return LuckyError("UNSPECIFIED", body.get("message", ""), code=body["code"])


