"""Client of the Lucky instant-messaging server: calls of its services, and a session that stays open."""

from .client import Client
from .errors import LuckyError
from .password import seal_password
from .session import Closed, Session
from .state import State, text, to_conversation, to_user

__all__ = [
    "Client",
    "Closed",
    "LuckyError",
    "Session",
    "State",
    "seal_password",
    "text",
    "to_conversation",
    "to_user",
]
