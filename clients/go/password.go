package lucky

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"

	authv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1"
	"google.golang.org/protobuf/proto"
)

// SealPassword encrypts a password for one request within two minutes: RSA-OAEP with SHA-256 over a
// PasswordPlaintext with the nonce and the time of the GetPublicKey response. All passwords of one
// request use the same response.
func SealPassword(key *authv1.GetPublicKeyResponse, password string) (*authv1.EncryptedPassword, error) {
	parsed, err := x509.ParsePKIXPublicKey(key.GetSpki())
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("lucky: the public key is not an RSA key")
	}
	plain, err := proto.Marshal(&authv1.PasswordPlaintext{
		Nonce:         key.GetNonce(),
		EncryptedAtMs: key.GetServerTimeMs(),
		Password:      password,
	})
	if err != nil {
		return nil, err
	}
	ciphertext, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, plain, nil)
	if err != nil {
		return nil, err
	}
	return &authv1.EncryptedPassword{KeyId: key.GetKeyId(), Ciphertext: ciphertext}, nil
}
