"""One run of the scenario."""

import asyncio
import secrets
import urllib.request
from collections import defaultdict
from typing import Any

import grpc
from calls import Calls
from google.protobuf import json_format
from values import fill, match, save, texts

from lucky import Client, Closed, LuckyError, Session
from lucky.auth.v1 import auth_pb2
from lucky.errors import error_of
from lucky.message.v1 import content_pb2, message_pb2

TIMEOUT_S = 60
POLL_INTERVAL_S = 0.05

# The steps that this runner knows, with the keys that each may have.
OPERATIONS = {
    "call": "over as request request_hex timeout_ms times eventually expect error save",
    "login": "user password class expect save",
    "open": "expect",
    "close": "",
    "closed": "code",
    "send": "to key content background times expect error save",
    "result": "expect error save",
    "receive": "conversation entries texts times from",
    "receipt": "conversation user delivered read",
    "read": "conversation sequence",
    "network": "",
}


def operation_of(step: dict) -> str:
    """The operation of a step. Raises for an unknown one, and for an unknown key."""
    for name, keys in OPERATIONS.items():
        if name in step and step.keys() <= {"title", name, *keys.split()}:
            return name
    raise ValueError(f"unknown operation, or it does not know a key: {list(step)}")


class Device:
    """A client with its session, and what the session told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.session: Session | None = None
        self.entries: dict[int, list] = defaultdict(list)
        self.receipts: list[message_pb2.Receipt] = []
        self.closed: Closed | None = None
        self.changed = asyncio.Condition()

    async def open(self) -> dict:
        state = self.session.state if self.session else None
        self.closed = None
        session = self.session = Session(self.client, state=state)
        session.on_message = lambda entry: self._add(self.entries[entry.conversation_id], entry)
        session.on_receipt = lambda receipt: self._add(self.receipts, receipt)
        session.on_closed = self._close
        return json_format.MessageToDict(await session.open())

    def _add(self, events: list, event: Any) -> None:
        events.append(event)
        asyncio.create_task(self._wake())

    def _close(self, closed: Closed) -> None:
        self.closed = closed
        asyncio.create_task(self._wake())

    async def _wake(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, what: str, check) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), self.changed:
                await self.changed.wait_for(check)
        except TimeoutError:
            raise AssertionError(f"expected {what} within {TIMEOUT_S} s") from None


class Play:
    def __init__(self, url: str, network_url: str) -> None:
        self._url = url
        self._network_url = network_url
        self._calls = Calls(url)
        self._values = {"run": secrets.token_hex(4)}
        self._devices: dict[str, Device] = {}
        self._background: dict[str, asyncio.Task] = {}

    async def end(self) -> None:
        await self._calls.close()
        for device in self._devices.values():
            if device.session:
                await device.session.close()
            await device.client.close()

    async def step(self, step: dict) -> None:
        operation = operation_of(step)
        if operation == "call":
            await self._call(step)
        elif operation == "login":
            await self._login(step)
        elif operation == "send":
            await self._send(step)
        elif operation == "result":
            self._answered(step, *await self._background[step["result"]])
        elif operation == "network":
            post = urllib.request.Request(f"{self._network_url}/{step['network']}", b"")
            await asyncio.to_thread(lambda: urllib.request.urlopen(post).close())
        else:
            pattern = step.get("texts")
            filled = fill({key: item for key, item in step.items() if key != "texts"}, self._values)
            for name in texts(filled[operation]):
                await getattr(self, f"_{operation}")(self._devices[name], filled, pattern)

    async def _call(self, step: dict) -> None:
        for n in range(1, step.get("times", 1) + 1):
            filled = fill(step, self._values | {"n": str(n)})
            for over in texts(step["over"]):
                await self._call_over(over, filled)

    async def _call_over(self, over: str, step: dict) -> None:
        device = self._devices.get(step.get("as", ""))
        token = device.client.tokens.access_token if device else None
        session = device.session if device else None
        until = asyncio.get_running_loop().time() + TIMEOUT_S
        while True:
            answer = await _settle(self._calls.call(over, step, token, session))
            try:
                return self._answered(step, *answer)
            except Exception as error:
                if not step.get("eventually") or asyncio.get_running_loop().time() > until:
                    raise AssertionError(f"over {over}: {error}") from error
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _login(self, step: dict) -> None:
        name = step["login"]
        device = Device(Client(self._url))
        about = auth_pb2.Device(
            device_id=f"{name}-{self._values['run']}",
            device_class=auth_pb2.DeviceClass.Value(step["class"]),
        )
        user_name = fill(step["user"], self._values)
        answer = await device.client.login(user_name, step["password"], about)
        self._devices[name] = device
        self._values[f"{name}.device_id"] = about.device_id
        self._values[f"{name}.refresh_token"] = answer.tokens.refresh_token
        self._answered(step, json_format.MessageToDict(answer), None)

    async def _open(self, device: Device, step: dict, _: Any) -> None:
        self._answered(step, await device.open(), None)

    async def _close(self, device: Device, _step: dict, _: Any) -> None:
        await device.session.close()

    async def _closed(self, device: Device, step: dict, _: Any) -> None:
        await device.until("the close", lambda: device.closed)
        match("close code", step["code"], device.closed.code)

    async def _send(self, step: dict) -> None:
        session = self._devices[step["send"]].session
        tasks = []
        for n in range(1, step.get("times", 1) + 1):
            filled = fill(step, self._values | {"n": str(n)})
            tasks.append(asyncio.create_task(_settle(_send_one(session, filled))))
        if "background" in step:
            self._background[step["background"]] = tasks[0]
            return
        for task in tasks:
            self._answered(step, *await task)

    async def _receive(self, device: Device, step: dict, pattern: str | None) -> None:
        expected = list(step.get("entries", []))
        for n in range(1, step.get("times", 0) + 1):
            content = {"text": {"text": fill(pattern, {"n": str(n)})}}
            expected.append({"sequence": str(step["from"] + n - 1), "content": content})
        if not expected:
            raise ValueError("nothing is expected")
        entries = device.entries[int(step["conversation"])]
        for at, entry in enumerate(expected):
            await device.until(f"{len(expected)} entries, received {at}", lambda: entries)
            match(f"entry {at + 1}", entry, json_format.MessageToDict(entries.pop(0)))

    async def _receipt(self, device: Device, step: dict, _: Any) -> None:
        def fits(receipt: message_pb2.Receipt) -> bool:
            about = (str(receipt.conversation_id), str(receipt.user_id))
            return (
                about == (step["conversation"], step["user"])
                and receipt.delivered_sequence >= step.get("delivered", 0)
                and receipt.read_sequence >= step.get("read", 0)
            )

        await device.until("a receipt", lambda: any(map(fits, device.receipts)))

    async def _read(self, device: Device, step: dict, _: Any) -> None:
        device.session.mark_read(int(step["conversation"]), step["sequence"])

    def _answered(self, step: dict, answer: Any, error: Exception | None) -> None:
        """Compares an answer or an error with what the step expects, and saves values of it."""
        if "error" in step:
            if error is None:
                raise AssertionError("it succeeded, expected an error")
            failed = error_of(error)
            actual = {"code": failed.code, "reason": failed.reason, "field": failed.field}
            match(f"error ({failed})", fill(step["error"], self._values), actual)
            return
        if error is not None:
            raise error_of(error)
        if "expect" in step:
            match("answer", fill(step["expect"], self._values), answer)
        save(step, answer, self._values)


async def _send_one(session: Session, step: dict) -> Any:
    target = json_format.ParseDict(step["to"], message_pb2.SendRequest())
    content = json_format.ParseDict(step["content"], content_pb2.Content())
    return json_format.MessageToDict(await session.send(target, content, step["key"]))


async def _settle(answer) -> tuple[Any, Exception | None]:
    try:
        return await answer, None
    except (grpc.RpcError, LuckyError) as error:
        return None, error
