"""The logs of all conversations on a device."""

from __future__ import annotations

import asyncio
import random
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import grpc

from lucky.frame.v1 import frame_pb2
from lucky.message.v1 import conversation_pb2, entry_pb2, message_pb2

from .errors import LuckyError, error_of

if typing.TYPE_CHECKING:
    from .session import Session

# Entries overtake each other slightly, so a gap may close by itself.
GAP_DELAY_S = 0.2
ENTRIES_PER_PAGE = 500
CONVERSATIONS_PER_PAGE = 200
# Largest number of entries that one conversation buffers behind a gap; later ones are fetched.
MAX_BUFFERED = 1000
LONGEST_RESYNC_S = 60.0


@dataclass
class Log:
    """One conversation: `last` is the sequence up to which the device has every entry, `known` the
    greatest one that exists. Entries are buffered until the log has begun."""

    id: int
    begun: bool = False
    last: int = 0
    known: int = 0
    epoch: int = 0
    buffer: dict[int, tuple[entry_pb2.Entry, bool]] = field(default_factory=dict)
    gap: asyncio.TimerHandle | None = None
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)


class Logs:
    """Orders arriving entries, fetches missing ones, and catches up."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.by_id: dict[int, Log] = {}
        self.cursor = ""
        # Whether a sync was ever complete: then an unknown conversation is new.
        self.synced = False
        self._syncing = False
        self._requested = False
        self._resync_s = 0.0

    def restore(self, conversation_id: int, last: int, epoch: int) -> None:
        log = Log(conversation_id, begun=True, last=last, known=last, epoch=epoch)
        self.by_id[conversation_id] = log

    def log(self, conversation_id: int) -> Log:
        return self.by_id.setdefault(conversation_id, Log(conversation_id))

    def deliver(self, entries: Iterable[entry_pb2.Entry]) -> None:
        for entry in entries:
            self.offer(entry, own=self._session.sends.is_own(entry))
            log = self.log(entry.conversation_id)
            if log.begun:
                self._acknowledge(log)  # Also for a duplicate: the last one may have been lost.

    def offer(self, entry: entry_pb2.Entry, *, own: bool) -> None:
        """Takes one entry, late or duplicated, and releases those that are next."""
        log, sequence = self.log(entry.conversation_id), entry.sequence
        log.known = max(log.known, sequence)
        if log.begun and sequence <= log.last:
            return
        before = log.buffer.get(sequence)
        is_next = log.begun and sequence == log.last + 1
        if before or own or is_next or len(log.buffer) < MAX_BUFFERED:
            log.buffer[sequence] = (entry, own or before is not None and before[1])
        if not log.begun and self.synced:
            log.begun = True
            self.request_sync()  # Fetches its name and members.
        self._release(log)
        behind = log.begun and log.known > log.last
        if behind and log.gap is None and not log.fetching.locked():
            loop = asyncio.get_running_loop()
            log.gap = loop.call_later(GAP_DELAY_S, self._close_gap, log)

    def _close_gap(self, log: Log) -> None:
        log.gap = None
        self._session.start(self._fetch(log))

    def _release(self, log: Log) -> None:
        while log.begun and log.last + 1 in log.buffer:
            log.last += 1
            entry, own = log.buffer.pop(log.last)
            if not own:
                self._session.on_message(entry)
            self._acknowledge(log)

    def _acknowledge(self, log: Log) -> None:
        self._session.cursors.delivered(log.id, log.last, log.epoch)

    def _begin(self, log: Log, last: int) -> None:
        """Starts a log after a sequence."""
        log.begun, log.last, log.known = True, last, max(log.known, last)
        log.buffer = {at: one for at, one in log.buffer.items() if at > last}
        self._release(log)

    def _enter_epoch(self, log: Log, epoch: int) -> bool:
        """Discards what the device holds from another epoch; True when there was anything."""
        had = log.begun and log.epoch not in (0, epoch)
        log.epoch = epoch
        if had:
            log.last = log.known = 0
            log.buffer = {}
            self._session.on_reset(log.id)
        return had

    def sync_required(self, required: frame_pb2.SyncRequired) -> None:
        log = self.log(required.conversation_id)
        log.known = max(log.known, required.last_sequence)
        if not log.begun:
            self.request_sync()
        elif log.known > log.last:
            self._session.start(self._fetch(log))
        else:
            self._acknowledge(log)

    async def _fetch(self, log: Log) -> None:
        """Gets pages until the device has every entry. A page that starts later than the next
        sequence contains no gap: the user joined later."""
        async with log.fetching:
            while log.begun and log.known > log.last:
                heard = log.known
                request = message_pb2.ListEntriesRequest(
                    conversation_id=log.id, after_sequence=log.last, page_size=ENTRIES_PER_PAGE
                )
                messages = self._session.client.messages
                try:
                    page = await self._retrying(lambda: messages.ListEntries(request))
                except LuckyError:
                    # The user may no longer read it. An entry or a sync tells when that changes.
                    log.known = log.last
                    return
                if self._enter_epoch(log, page.epoch):
                    log.known = max(log.known, page.last_sequence)
                elif page.entries:
                    if page.entries[0].sequence > log.last + 1:
                        self._begin(log, page.entries[0].sequence - 1)
                    for entry in page.entries:
                        self.offer(entry, own=self._session.sends.is_own(entry))
                elif log.known <= heard:
                    log.known, log.buffer = log.last, {}

    async def _retrying(self, call: Callable[[], Awaitable]):
        """Repeats a call with back-off until it succeeds or fails for good."""
        attempt = 0
        while True:
            try:
                return await call()
            except (grpc.RpcError, LuckyError) as failed:
                error = error_of(failed)
                if not error.retryable:
                    raise error from failed
            back_off_s = random.uniform(0, min(30, 0.5 * 2 ** min(attempt, 10)))
            await asyncio.sleep(error.retry_after_ms / 1000 + back_off_s)
            attempt += 1

    def request_sync(self) -> None:
        """Catches up in the background; requests during a sync are served by one more."""
        self._requested = True
        if not self._syncing:
            self._syncing = True
            self._session.start(self._sync_while_requested())

    async def _sync_while_requested(self) -> None:
        try:
            while self._requested:
                self._requested = False
                await self._sync()
        except LuckyError:
            pass  # The login is over: the socket tells.
        finally:
            self._syncing = False

    async def _sync(self) -> None:
        """Reads the changed conversations page by page. The cursor moves only after the entries of a
        page have arrived, so a crash in between repeats work and loses nothing."""
        while True:
            request = message_pb2.SyncRequest(cursor=self.cursor, page_size=CONVERSATIONS_PER_PAGE)
            page = await self._retrying(lambda: self._session.client.messages.Sync(request))  # noqa: B023
            for conversation in page.conversations:
                await self._catch_up(conversation)
            self.cursor = page.next_cursor
            if not page.has_more:
                self._end_sync(page.retry_after_ms / 1000)
                return

    def _end_sync(self, retry_after_s: float) -> None:
        if retry_after_s == 0:
            self._resync_s, self.synced = 0.0, True
            for log in self.by_id.values():
                if not log.begun:  # New since the sync began.
                    self._begin(log, 0)
                    self._session.start(self._fetch(log))
            return
        # The devices of all users would otherwise repeat their syncs at the same time.
        self._resync_s = min(LONGEST_RESYNC_S, max(retry_after_s, 2 * self._resync_s))
        delay_s = retry_after_s + random.uniform(0, self._resync_s)
        asyncio.get_running_loop().call_later(delay_s, self.request_sync)

    async def _catch_up(self, conversation: conversation_pb2.Conversation) -> None:
        """Gets what the device misses of one conversation."""
        log = self.log(conversation.conversation_id)
        self._session.on_conversation(conversation)
        self._enter_epoch(log, conversation.epoch)
        log.known = max(log.known, conversation.last_sequence)
        if not log.begun:
            self._begin(log, self._start_of(log, conversation))
        await self._fetch(log)
        if conversation.delivered_sequence < log.last:
            self._acknowledge(log)

    def _start_of(self, log: Log, conversation: conversation_pb2.Conversation) -> int:
        """The sequence after which the device begins in a conversation that it sees first."""
        if self.synced or self._session.all_history:
            return 0
        start = conversation.delivered_sequence
        if log.buffer:  # An entry that was delivered to this session is new.
            start = min(start, min(log.buffer) - 1)
        return max(start, conversation.first_sequence - 1)
