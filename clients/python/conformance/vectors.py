"""Messages in bytes and in JSON."""

from google.protobuf import json_format, message_factory, symbol_database
from google.protobuf.message import Message

import lucky.auth.v1.auth_pb2  # noqa: F401
import lucky.frame.v1.frame_pb2  # noqa: F401


def new_message(name: str) -> Message:
    pool = symbol_database.Default().pool
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def check_vector(vector: dict) -> None:
    data = bytes.fromhex(vector["hex"])
    decoded, encoded = new_message(vector["message"]), new_message(vector["message"])
    decoded.ParseFromString(data)
    json_format.ParseDict(vector["json"], encoded)
    one, other = json_format.MessageToDict(decoded), json_format.MessageToDict(encoded)
    assert one == other, f"the bytes decode to {one}, expected {other}"
    if vector.get("decode_only"):
        return
    written = encoded.SerializeToString(deterministic=True)
    assert written == data, f"the JSON encodes to {written.hex(' ')}, expected {data.hex(' ')}"
