"""The stored state of a session, and the addresses of messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from lucky.message.v1 import content_pb2, message_pb2


@dataclass
class State:
    """The state that a device stores to resume a session, for example as JSON. One state belongs to one user.

    `logs` maps the id of a conversation to the sequence up to which the device has every entry, and
    to the epoch of the conversation. `sends` are the encoded SendRequests without a result, as
    hexadecimal text, in the order of their calls.
    """

    cursor: str = ""
    synced: bool = False
    logs: dict[int, tuple[int, int]] = field(default_factory=dict)
    sends: list[str] = field(default_factory=list)


def to_user(user_id: int) -> message_pb2.SendRequest:
    """The direct conversation with a user; the first message creates it."""
    return message_pb2.SendRequest(user_id=user_id)


def to_conversation(conversation_id: int) -> message_pb2.SendRequest:
    """A conversation, such as a group."""
    return message_pb2.SendRequest(conversation_id=conversation_id)


def text(value: str) -> content_pb2.Content:
    """The content of a plain text message."""
    return content_pb2.Content(text=content_pb2.Text(text=value))
