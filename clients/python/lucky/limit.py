"""The rate limit of frames."""

from __future__ import annotations

import asyncio

from google.protobuf.message import Message

from lucky.frame.v1 import frame_pb2

# Each of these amounts adds 1 to the weight of a frame.
BYTES_PER_WEIGHT = 16_384
FIELDS_PER_WEIGHT = 40


class FrameLimit:
    """Throttles frames below the server's rate limit: other sessions of the user share it."""

    def __init__(self, limits: frame_pb2.Limits) -> None:
        unlimited = limits.frames_per_second <= 0 or limits.frames_burst <= 0
        # Time in which the server allows one more frame, and the time that a burst is ahead at most.
        self._interval_s = 0 if unlimited else 1 / (0.8 * limits.frames_per_second)
        self._ahead_s = 0.75 * limits.frames_burst * self._interval_s
        # When the burst is available as a whole.
        self._full_at_s: float = 0
        # Keeps the order of frames that wait.
        self._turn = asyncio.Lock()

    async def wait(self, weight: int) -> None:
        """Waits until a frame of the weight may be sent."""
        async with self._turn:
            now_s = asyncio.get_running_loop().time()
            self._full_at_s = max(self._full_at_s, now_s) + weight * self._interval_s
            late_s = self._full_at_s - now_s - self._ahead_s
            if late_s > 0:
                await asyncio.sleep(late_s)


def frame_weight(frame: frame_pb2.ClientFrame) -> int:
    """The number of frames that a frame counts as in the server's rate limit, at most."""
    return 1 + frame.ByteSize() // BYTES_PER_WEIGHT + _fields_of(frame) // FIELDS_PER_WEIGHT


def _fields_of(message: Message) -> int:
    """Counts the fields of a message at all depths."""
    count = 0
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        count += len(values)
        if field.message_type:
            count += sum(map(_fields_of, values))
    return count
