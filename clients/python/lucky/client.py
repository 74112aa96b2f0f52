"""Calls of the services by gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from lucky.auth.v1 import auth_pb2, auth_pb2_grpc, device_pb2_grpc
from lucky.frame.v1 import frame_pb2_grpc
from lucky.group.v1 import group_pb2_grpc
from lucky.message.v1 import conversation_pb2_grpc, message_pb2_grpc
from lucky.presence.v1 import presence_pb2_grpc
from lucky.user.v1 import user_pb2_grpc

from .errors import LuckyError, error_of
from .password import seal_password

T = TypeVar("T")
CALL_TIMEOUT_S = 10
# The server accepts a retry with the same refresh token only within 10 s after the exchange.
REFRESH_TIMEOUT_S = 3
# Access tokens are exchanged this long before they expire.
REFRESH_AHEAD_MS = 30_000


class Client:
    """Calls the services of one server as one device, by gRPC.

    The methods of `auth`, `devices`, `users`, `messages`, `conversations`, `groups`, `presence` and
    `endpoints` are those of the generated stubs. They carry the access token, refresh it as needed,
    and raise grpc.aio.AioRpcError: `error_of` gives the reason.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.tokens: auth_pb2.Tokens | None = None
        # The server's clock minus the local one.
        self._skew_ms = 0
        self._refreshing = asyncio.Lock()
        self._plain = open_channel(self.url)
        self._channel = open_channel(self.url, [_WithToken(self)])
        self._anonymous = auth_pb2_grpc.AuthServiceStub(self._plain)
        self.auth = auth_pb2_grpc.AuthServiceStub(self._channel)
        self.devices = device_pb2_grpc.DeviceServiceStub(self._channel)
        self.users = user_pb2_grpc.UserServiceStub(self._channel)
        self.messages = message_pb2_grpc.MessageServiceStub(self._channel)
        self.conversations = conversation_pb2_grpc.ConversationServiceStub(self._channel)
        self.groups = group_pb2_grpc.GroupServiceStub(self._channel)
        self.presence = presence_pb2_grpc.PresenceServiceStub(self._channel)
        self.endpoints = frame_pb2_grpc.EndpointServiceStub(self._channel)

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(self._plain.close(), self._channel.close())

    async def register(self, user_name: str, password: str, key: str = "") -> auth_pb2.RegisterResponse:
        """Creates an account and does not log in. A random key makes a retry harmless."""

        async def call(sealed: auth_pb2.EncryptedPassword) -> auth_pb2.RegisterResponse:
            request = auth_pb2.RegisterRequest(
                user_name=user_name, password=sealed, client_registration_id=key
            )
            return await self._anonymous.Register(request, timeout=CALL_TIMEOUT_S)

        return await self._sealed(password, call)

    async def login(
        self, user_name: str, password: str, device: auth_pb2.Device
    ) -> auth_pb2.LoginResponse:
        """Logs the device in and keeps its tokens."""

        async def call(sealed: auth_pb2.EncryptedPassword) -> auth_pb2.LoginResponse:
            request = auth_pb2.LoginRequest(user_name=user_name, password=sealed, device=device)
            return await self._anonymous.Login(request, timeout=CALL_TIMEOUT_S)

        answer = await self._sealed(password, call)
        self.tokens = answer.tokens
        return answer

    async def _sealed(
        self, password: str, call: Callable[[auth_pb2.EncryptedPassword], Awaitable[T]]
    ) -> T:
        """Calls with the password encrypted; retries once when the server's key was just rotated."""

        async def attempt() -> T:
            request = auth_pb2.GetPublicKeyRequest()
            key = await self._anonymous.GetPublicKey(request, timeout=CALL_TIMEOUT_S)
            self.server_time(key.server_time_ms)
            return await call(seal_password(key, password))

        try:
            return await attempt()
        except grpc.RpcError as error:
            if error_of(error).reason != "ENCRYPTION_INVALID":
                raise
            return await attempt()

    def server_time(self, now_ms: int) -> None:
        """Records the server's clock."""
        self._skew_ms = now_ms - round(time.time() * 1000)

    async def access(self) -> str:
        """An access token that does not expire soon."""
        if self.tokens is None:
            raise LuckyError("TOKEN_INVALID", "not logged in", code="unauthenticated")
        now_ms = time.time() * 1000 + self._skew_ms
        if now_ms + REFRESH_AHEAD_MS < self.tokens.access_token_expires_at_ms:
            return self.tokens.access_token
        return await self.refresh(self.tokens.access_token)

    async def refresh(self, used: str) -> str:
        """Exchanges the refresh token, unless the used access token was replaced meanwhile."""
        async with self._refreshing:
            if self.tokens is None:
                raise LuckyError("TOKEN_INVALID", "not logged in", code="unauthenticated")
            if self.tokens.access_token != used:
                return self.tokens.access_token
            request = auth_pb2.RefreshRequest(refresh_token=self.tokens.refresh_token)
            try:
                answer = await self._anonymous.Refresh(request, timeout=REFRESH_TIMEOUT_S)
            except grpc.RpcError as error:
                if error_of(error).reason != "UNAVAILABLE":
                    raise
                # A lost answer: the same token works once more within ten seconds.
                answer = await self._anonymous.Refresh(request, timeout=REFRESH_TIMEOUT_S)
            self.tokens = answer.tokens
            return self.tokens.access_token


def open_channel(url: str, interceptors: list | None = None) -> grpc.aio.Channel:
    """Opens a gRPC channel to an address such as "https://chat.example.org"."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    target = f"{parts.hostname}:{port}"
    if parts.scheme == "https":
        credentials = grpc.ssl_channel_credentials()
        return grpc.aio.secure_channel(target, credentials, interceptors=interceptors)
    return grpc.aio.insecure_channel(target, interceptors=interceptors)


class _WithToken(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the access token; retries once with a fresh one after TOKEN_EXPIRED."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def intercept_unary_unary(self, continuation, details, request):
        token = await self._client.access()
        call = await continuation(_authorized(details, token), request)
        if await call.code() != grpc.StatusCode.UNAUTHENTICATED:
            return call
        try:
            return await call
        except grpc.RpcError as error:
            if error_of(error).reason != "TOKEN_EXPIRED":
                raise
        token = await self._client.refresh(token)
        return await continuation(_authorized(details, token), request)


def _authorized(details: grpc.aio.ClientCallDetails, token: str) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata["authorization"] = f"Bearer {token}"
    timeout = CALL_TIMEOUT_S if details.timeout is None else details.timeout
    return details._replace(metadata=metadata, timeout=timeout)
