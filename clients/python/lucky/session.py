"""A session over WebSocket that stays open."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import websockets
from google.protobuf.message import DecodeError, Message

from lucky.frame.v1 import frame_pb2
from lucky.message.v1 import content_pb2, conversation_pb2, entry_pb2, message_pb2
from lucky.presence.v1 import presence_pb2

from .client import Client
from .cursors import Cursors
from .errors import CODES, LuckyError, error_from, error_of, unavailable
from .limit import FrameLimit, frame_weight
from .logs import Logs
from .sends import Sends
from .state import State

# Revision of the protocol that this package is written for.
REVISION = 1
OPEN_TIMEOUT_S = 10
CALL_TIMEOUT_S = 10
RENEWAL_RETRY_S = 5
# Largest frame that is read before Welcome names the server's limit.
MAX_FRAME_BYTES = 4 << 20
# Close codes from here to 4999 mean: do not reconnect by yourself.
STAY_CLOSED = range(4500, 5000)


@dataclass
class Closed:
    """Why a session ended for good.

    `code` is the close code of the WebSocket; 0 when the caller closed it, or the login was over.
    """

    code: int = 0
    kick: frame_pb2.Kick = field(default_factory=frame_pb2.Kick)
    error: LuckyError | None = None


def _ignore(_: object) -> None:
    pass


class Session:
    """One WebSocket of one device: reconnects with back-off, catches up, orders and acknowledges
    entries, and repeats sends until they have a result.

    Set the `on_…` functions before `open`. They run on the event loop and must not block.
    """

    def __init__(
        self,
        client: Client,
        *,
        state: State | None = None,
        all_history: bool = False,
        client_name: str = "",
        client_version: str = "",
    ) -> None:
        """`all_history` makes a device without a state fetch every entry of every conversation.
        Otherwise it begins after the entries that the user's other devices have received."""
        self.client = client
        self.all_history = all_history
        self._names = {"client_name": client_name, "client_version": client_version}
        # The next entry of a conversation: in order, once. Not what this session sent.
        self.on_message: Callable[[entry_pb2.Entry], None] = _ignore
        # A conversation that is new, or has changed while the device was away.
        self.on_conversation: Callable[[conversation_pb2.Conversation], None] = _ignore
        # The id of a conversation whose epoch changed: discard its entries, all come again.
        self.on_reset: Callable[[int], None] = _ignore
        self.on_receipt: Callable[[message_pb2.Receipt], None] = _ignore
        self.on_typing: Callable[[presence_pb2.Typing], None] = _ignore
        self.on_notice: Callable[[frame_pb2.SecurityNotice], None] = _ignore
        self.on_open: Callable[[frame_pb2.Welcome], None] = _ignore
        self.on_closed: Callable[[Closed], None] = _ignore
        self.welcome = frame_pb2.Welcome()
        self.is_open = False
        self._socket: websockets.ClientConnection | None = None
        self._kick = frame_pb2.Kick()
        self._move_at: float | None = None
        self._attempts = 0
        self._limit = FrameLimit(frame_pb2.Limits())
        self._calls: dict[int, asyncio.Future[frame_pb2.RpcResult]] = {}
        self._last_call = 0
        self._tasks: set[asyncio.Task] = set()
        self._running: asyncio.Task | None = None
        self._opened: asyncio.Future[None] | None = None
        self.sends = Sends(self)
        self.cursors = Cursors(self)
        self.logs = Logs(self)
        self._restore(state or State())

    async def open(self) -> frame_pb2.Welcome:
        """Opens the session and waits for the first Welcome. Raises when the login is over."""
        self._opened = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run())
        await self._opened
        return self.welcome

    async def close(self) -> None:
        """Ends the session. Sends without a result stay in the state."""
        self.cursors.flush(everything=True)
        await asyncio.sleep(0)
        if self._running:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def __aenter__(self) -> Session:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def state(self) -> State:
        """The current state, to store."""
        logs = {one.id: (one.last, one.epoch) for one in self.logs.by_id.values() if one.begun}
        return State(self.logs.cursor, self.logs.synced, logs, self.sends.encoded())

    def _restore(self, state: State) -> None:
        self.logs.cursor, self.logs.synced = state.cursor, state.synced
        for conversation_id, (last, epoch) in state.logs.items():
            self.logs.restore(int(conversation_id), last, epoch)
        for encoded in state.sends:
            self.sends.restore(message_pb2.SendRequest.FromString(bytes.fromhex(encoded)))

    async def send(
        self, target: message_pb2.SendRequest, content: content_pb2.Content, key: str = ""
    ) -> message_pb2.Accepted:
        """Sends content and waits until it is durable; raises a LuckyError when it is refused.

        The send is repeated under its key (a random one when absent) until there is a result, also
        over several sockets. When the caller is cancelled, the send goes on.
        """
        return await asyncio.shield(self.sends.add(target, content, key))

    def mark_read(self, conversation_id: int, sequence: int) -> None:
        """Reports that the user has read the conversation up to a sequence."""
        self.cursors.read(conversation_id, sequence)

    def typing(self, conversation_id: int, typing: bool = True) -> None:
        """Signals that the user types, or stopped. It may be lost."""
        request = presence_pb2.SendTypingRequest(conversation_id=conversation_id, typing=typing)
        self.write(frame_pb2.ClientFrame(typing=request))

    async def call(self, method: str, request: Message, response: Message) -> None:
        """Calls a unary method over the socket, such as "lucky.message.v1.MessageService/Sync", and
        decodes the answer into `response`."""
        self._last_call += 1
        call_id = self._last_call
        result = self._calls[call_id] = asyncio.get_running_loop().create_future()
        encoded = request.SerializeToString()
        call = frame_pb2.Rpc(call_id=call_id, method=method, request=encoded)
        try:
            if not self.write(frame_pb2.ClientFrame(rpc=call)):
                raise unavailable("no session is open")
            answer = await asyncio.wait_for(result, CALL_TIMEOUT_S)
        except TimeoutError:
            raise LuckyError("UNAVAILABLE", "no answer", code="deadline_exceeded") from None
        finally:
            self._calls.pop(call_id, None)
        if answer.HasField("error"):
            raise error_from(answer.error.error, answer.error.text, CODES[answer.error.code])
        response.ParseFromString(answer.response)

    def write(self, frame: frame_pb2.ClientFrame) -> bool:
        """Writes a frame within the rate limit; False when no session is open."""
        if not self.is_open or self._socket is None:
            return False
        self.start(self._write(self._socket, self._limit, frame))
        return True

    async def _write(
        self, socket: websockets.ClientConnection, limit: FrameLimit, frame: frame_pb2.ClientFrame
    ) -> None:
        encoded, weight = frame.SerializeToString(), frame_weight(frame)
        await limit.wait(weight)
        if self._socket is not socket:
            return
        with contextlib.suppress(websockets.ConnectionClosed):  # The reader sees the end.
            await socket.send(encoded)

    def start(self, work) -> None:
        """Runs work in the background until the session ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        closed = Closed()
        try:
            while True:
                closed = await self._run_socket()
                if closed.error and closed.error.login_over or _stays_closed(closed):
                    break
                if closed.code == frame_pb2.CLOSE_CODE_TOKEN_EXPIRED and self.client.tokens:
                    with contextlib.suppress(grpc.RpcError):  # The next attempt reports it.
                        await self.client.refresh(self.client.tokens.access_token)
                await self._pause(closed)
        except asyncio.CancelledError:
            closed = Closed()
            raise
        finally:
            self.is_open = False
            for task in list(self._tasks):
                task.cancel()
            name = closed.kick.text or str(closed.error or "the caller closed it")
            error = closed.error or unavailable(f"the session is closed ({closed.code}): {name}")
            self.sends.fail(error)
            if self._opened and not self._opened.done():
                self._opened.set_exception(error)
            self.on_closed(closed)

    async def _pause(self, last: Closed) -> None:
        """Waits before the next attempt: full jitter below a ceiling that doubles up to 30 s."""
        ceiling_s = min(30, 0.5 * 2 ** min(self._attempts, 10))
        wait_s = random.uniform(0, ceiling_s) + last.kick.retry_after_ms / 1000
        if last.code in (frame_pb2.CLOSE_CODE_RATE_LIMITED, frame_pb2.CLOSE_CODE_UNAVAILABLE):
            wait_s = max(wait_s, 1)
        if self._move_at is not None:
            wait_s = self._move_at - asyncio.get_running_loop().time()
        self._attempts += 1
        self._move_at = None
        await asyncio.sleep(max(0, wait_s))

    async def _run_socket(self) -> Closed:
        """Runs one socket, from the look-up of its address to its end."""
        self._kick = frame_pb2.Kick()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                token = await self.client.access()
                url = await self._resolve()
                socket = await websockets.connect(
                    url, subprotocols=["lucky.v1"], max_size=MAX_FRAME_BYTES, ping_interval=None
                )
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(socket.close)
                self._socket = socket
                hello = frame_pb2.Hello(
                    access_token=token, protocol_revision=REVISION, **self._names
                )
                await socket.send(frame_pb2.ClientFrame(hello=hello).SerializeToString())
                await self._read(socket)
        except websockets.ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else self._kick.code
            return Closed(code, self._kick, None if code else unavailable(str(error)))
        except (OSError, TimeoutError, DecodeError, websockets.WebSocketException) as error:
            return Closed(error=unavailable(repr(error)))
        except (grpc.RpcError, LuckyError) as error:
            return Closed(error=error_of(error))
        finally:
            self._lost()
        return Closed()

    async def _resolve(self) -> str:
        url = "/ws"
        try:
            answer = await self.client.endpoints.ResolveEndpoint(frame_pb2.ResolveEndpointRequest())
            url = answer.url
        except grpc.RpcError as error:
            if error_of(error).login_over:
                raise
        if url.startswith("/"):
            url = self.client.url.replace("http", "ws", 1) + url
        return url

    async def _read(self, socket: websockets.ClientConnection) -> None:
        quiet_s: float = OPEN_TIMEOUT_S
        while True:
            async with asyncio.timeout(quiet_s):
                data = await socket.recv(decode=False)
            frame = frame_pb2.ServerFrame.FromString(data)
            if frame.HasField("welcome"):
                self._enter(frame.welcome)
                quiet_s = max(1, 2 * self.welcome.heartbeat_interval_ms / 1000)
            elif self.is_open or frame.HasField("kick"):
                self._receive(frame)

    def _enter(self, welcome: frame_pb2.Welcome) -> None:
        """Takes Welcome: the session is open."""
        self.welcome = welcome
        self.is_open = True
        self._limit = FrameLimit(welcome.limits)
        self._attempts = 0
        self.client.server_time(welcome.server_time_ms)
        self.start(self._beat(self._socket))
        if self._opened and not self._opened.done():
            self._opened.set_result(None)
        self.on_open(welcome)
        self.sends.dispatch()
        self.cursors.repeat()
        self.logs.request_sync()

    async def _beat(self, socket: websockets.ClientConnection | None) -> None:
        interval_s = max(0.2, self.welcome.heartbeat_interval_ms / 1000)
        beat = frame_pb2.ClientFrame(heartbeat=frame_pb2.Heartbeat())
        while self.is_open and self._socket is socket:
            await asyncio.sleep(interval_s / 2)
            if self._socket is socket:
                self.write(beat)

    def _lost(self) -> None:
        self.is_open = False
        self._socket = None
        for result in self._calls.values():
            if not result.done():
                result.set_exception(unavailable("the session broke before the answer"))
        self.sends.lost()

    def _receive(self, frame: frame_pb2.ServerFrame) -> None:
        match frame.WhichOneof("kind"):
            case "deliver":
                self.logs.deliver(frame.deliver.entries)
            case "send_results":
                for result in frame.send_results.results:
                    self.sends.settle(result)
            case "sync_required":
                self.logs.sync_required(frame.sync_required)
            case "rpc_result":
                result = self._calls.get(frame.rpc_result.call_id)
                if result and not result.done():
                    result.set_result(frame.rpc_result)
            case "receipt":
                self.on_receipt(frame.receipt)
            case "typing":
                self.on_typing(frame.typing)
            case "security_notice":
                self.on_notice(frame.security_notice)
            case "kick":
                self._kick = frame.kick
            case "move":
                self.start(self._move(frame.move.after_ms / 1000))
            case "token_expiring":
                self.start(self._renew())
            # Other kinds are those of later servers.

    async def _move(self, after_s: float) -> None:
        socket = self._socket
        self._move_at = asyncio.get_running_loop().time() + after_s
        await asyncio.sleep(after_s)
        if socket:
            await socket.close()

    async def _renew(self) -> None:
        """Continues the session with a fresh access token."""
        socket, used = self._socket, self.client.tokens.access_token
        while self._socket is socket:
            try:
                token = await self.client.refresh(used)
            except grpc.RpcError as error:
                if error_of(error).login_over:
                    return  # The server closes the session.
                await asyncio.sleep(RENEWAL_RETRY_S)
                continue
            self.write(frame_pb2.ClientFrame(renew=frame_pb2.Renew(access_token=token)))
            return


def _stays_closed(closed: Closed) -> bool:
    match closed.kick.action:
        case frame_pb2.RECONNECT_ACTION_RECONNECT:
            return False
        case frame_pb2.RECONNECT_ACTION_STAY_CLOSED:
            return True
        case _:
            return closed.code in STAY_CLOSED
