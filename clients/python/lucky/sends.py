"""Messages without a result."""

from __future__ import annotations

import asyncio
import random
import typing
import uuid
from dataclasses import dataclass, field

from lucky.frame.v1 import frame_pb2
from lucky.message.v1 import content_pb2, entry_pb2, message_pb2

from .errors import LuckyError, error_from

if typing.TYPE_CHECKING:
    from .session import Session


@dataclass(eq=False)
class Send:
    """One message without a result."""

    request: message_pb2.SendRequest
    outcome: asyncio.Future[message_pb2.Accepted] | None
    in_flight: bool = False
    attempts: int = 0
    # Delays a send that was refused for a time, and all later ones to its target.
    not_before: float = 0
    target: object = field(init=False)

    def __post_init__(self) -> None:
        self.target = (self.request.user_id, self.request.conversation_id)


class Sends:
    """Writes sends in the order of their calls and repeats them until they have a result."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pending: list[Send] = []

    def add(
        self, target: message_pb2.SendRequest, content: content_pb2.Content, key: str
    ) -> asyncio.Future[message_pb2.Accepted]:
        request = message_pb2.SendRequest()
        request.CopyFrom(target)
        request.content.CopyFrom(content)
        request.client_message_id = key or request.client_message_id or str(uuid.uuid4())
        outcome = asyncio.get_running_loop().create_future()
        # A caller that went away does not ask for the exception.
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pending.append(Send(request, outcome))
        self.dispatch()
        return outcome

    def restore(self, request: message_pb2.SendRequest) -> None:
        self._pending.append(Send(request, None, attempts=1))

    def encoded(self) -> list[str]:
        return [one.request.SerializeToString().hex() for one in self._pending]

    def dispatch(self) -> None:
        """Writes what may be sent now: in order per target, never two with one key."""
        if not self._session.is_open:
            return
        limit = self._session.welcome.limits.max_sends_in_flight or 1
        keys = {one.request.client_message_id for one in self._pending if one.in_flight}
        in_flight = sum(one.in_flight for one in self._pending)
        now = asyncio.get_running_loop().time()
        delayed = set()
        for one in self._pending:
            if in_flight >= limit:
                return
            if one.in_flight:
                continue
            if now < one.not_before or one.request.client_message_id in keys:
                delayed.add(one.target)
            if one.target in delayed:
                continue
            if not self._session.write(frame_pb2.ClientFrame(send=one.request)):
                return
            one.in_flight = True
            one.attempts += 1
            keys.add(one.request.client_message_id)
            in_flight += 1

    def settle(self, result: message_pb2.SendResult) -> None:
        """Takes the result of a send."""
        key = result.client_message_id
        found = [x for x in self._pending if x.in_flight and x.request.client_message_id == key]
        if not found:
            return
        one = found[0]
        if result.HasField("accepted"):
            entry = _entry_of(one.request, result.accepted, self._session.welcome.user_id)
            self._session.logs.offer(entry, own=True)
            self._end(one, result.accepted)
            return
        error = error_from(result.refused.error, result.refused.text)
        if not error.retryable:
            self._end(one, error)
            return
        one.in_flight = False
        back_off_s = random.uniform(0, 0.2 * 2 ** min(one.attempts, 5))
        wait_s = max(error.retry_after_ms / 1000, back_off_s)
        loop = asyncio.get_running_loop()
        one.not_before = loop.time() + wait_s
        loop.call_later(wait_s, self.dispatch)

    def _end(self, one: Send, outcome: message_pb2.Accepted | LuckyError) -> None:
        self._pending.remove(one)
        if one.outcome and not one.outcome.done():
            if isinstance(outcome, LuckyError):
                one.outcome.set_exception(outcome)
            else:
                one.outcome.set_result(outcome)
        self.dispatch()

    def lost(self) -> None:
        """The socket broke: the outcomes are unknown."""
        for one in self._pending:
            one.in_flight = False

    def fail(self, error: LuckyError) -> None:
        """Ends the waiting of all senders; the requests stay for the state."""
        for one in self._pending:
            if one.outcome and not one.outcome.done():
                one.outcome.set_exception(error)

    def is_own(self, entry: entry_pb2.Entry) -> bool:
        """Whether the entry is a send of this session that has no result yet."""
        if entry.sender_id != self._session.welcome.user_id:
            return False
        key = entry.client_message_id
        return any(one.attempts and one.request.client_message_id == key for one in self._pending)


def _entry_of(
    request: message_pb2.SendRequest, accepted: message_pb2.Accepted, sender_id: int
) -> entry_pb2.Entry:
    return entry_pb2.Entry(
        conversation_id=accepted.conversation_id,
        sequence=accepted.sequence,
        accepted_at_ms=accepted.accepted_at_ms,
        message_id=accepted.message_id,
        sender_id=sender_id,
        client_message_id=request.client_message_id,
        content=request.content,
    )
