"""Encryption of passwords for transport."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from lucky.auth.v1 import auth_pb2


def seal_password(
    key: auth_pb2.GetPublicKeyResponse, password: str
) -> auth_pb2.EncryptedPassword:
    """Encrypts a password for one request within two minutes.

    RSA-OAEP with SHA-256 over a PasswordPlaintext with the nonce and the time of the GetPublicKey
    response. All passwords of one request use the same response.
    """
    plain = auth_pb2.PasswordPlaintext(
        nonce=key.nonce, encrypted_at_ms=key.server_time_ms, password=password
    )
    sha256 = hashes.SHA256()
    oaep = padding.OAEP(mgf=padding.MGF1(sha256), algorithm=sha256, label=None)
    ciphertext = load_der_public_key(key.spki).encrypt(plain.SerializeToString(), oaep)
    return auth_pb2.EncryptedPassword(key_id=key.key_id, ciphertext=ciphertext)
