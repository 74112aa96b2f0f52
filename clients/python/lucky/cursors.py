"""Acknowledgements of a device."""

from __future__ import annotations

import asyncio
import random
import typing
from dataclasses import dataclass

from lucky.frame.v1 import frame_pb2
from lucky.message.v1 import message_pb2

if typing.TYPE_CHECKING:
    from .session import Session

# Acknowledgements are joined for this long.
JOIN_DELAY_S = 0.05
# Maximum cursors in a frame when Welcome names no other.
MAX_CURSORS = 200


@dataclass
class Pending:
    """The acknowledgement of one conversation; `dirty` until it was sent on the current socket."""

    value: message_pb2.Cursor
    dirty: bool = False
    urgent: bool = False
    not_before: float = 0


class Cursors:
    """Joins acknowledgements, spreads them over time, and repeats them after a broken socket."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_id: dict[int, Pending] = {}
        self._timer: asyncio.TimerHandle | None = None

    def _of(self, conversation_id: int) -> Pending:
        value = message_pb2.Cursor(conversation_id=conversation_id)
        return self._by_id.setdefault(conversation_id, Pending(value))

    def delivered(self, conversation_id: int, last: int, epoch: int) -> None:
        """The device has every entry up to the last one."""
        if last == 0:
            return
        one = self._of(conversation_id)
        one.value.delivered_sequence, one.value.epoch, one.dirty = last, epoch, True
        self._schedule(JOIN_DELAY_S)

    def read(self, conversation_id: int, sequence: int) -> None:
        one = self._of(conversation_id)
        one.value.read_sequence = max(one.value.read_sequence, sequence)
        one.value.epoch = self._session.logs.log(conversation_id).epoch
        one.dirty = one.urgent = True
        self._schedule(JOIN_DELAY_S)

    def repeat(self) -> None:
        """Repeats all acknowledgements: those of the broken socket may be lost."""
        for one in self._by_id.values():
            one.dirty = True
        self._schedule(JOIN_DELAY_S)

    def _schedule(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self.flush()

    def flush(self, *, everything: bool = False) -> None:
        """Sends the cursors that are due. A conversation waits about half a second between two, so
        that members of a busy group do not send more than they receive."""
        if not self._session.is_open:
            return  # They are repeated on the next socket.
        limit = self._session.welcome.limits.max_cursors or MAX_CURSORS
        now = asyncio.get_running_loop().time()
        due: list[message_pb2.Cursor] = []
        wait_s = 0.0
        for one in self._by_id.values():
            if not one.dirty:
                continue
            late_s = one.not_before - now
            if len(due) == limit or late_s > 0 and not (everything or one.urgent):
                wait_s = max(JOIN_DELAY_S, late_s)
                continue
            one.dirty = one.urgent = False
            one.not_before = now + random.uniform(0.4, 0.6)
            due.append(one.value)
        if due:
            request = message_pb2.AcknowledgeRequest(cursors=due)
            self._session.write(frame_pb2.ClientFrame(acknowledge=request))
        if wait_s:
            self._schedule(wait_s)
