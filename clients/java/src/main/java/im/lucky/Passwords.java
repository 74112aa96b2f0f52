package im.lucky;

import com.google.protobuf.ByteString;
import im.lucky.auth.v1.EncryptedPassword;
import im.lucky.auth.v1.GetPublicKeyResponse;
import im.lucky.auth.v1.PasswordPlaintext;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import javax.crypto.Cipher;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;

/** Encryption of passwords for transport. */
public final class Passwords {
  private static final OAEPParameterSpec OAEP =
      new OAEPParameterSpec(
          "SHA-256", "MGF1", MGF1ParameterSpec.SHA256, PSource.PSpecified.DEFAULT);

  private Passwords() {}

  /**
   * Encrypts a password for one request within two minutes: RSA-OAEP with SHA-256 over a
   * PasswordPlaintext with the nonce and the time of the GetPublicKey response. All passwords of one
   * request use the same response.
   */
  public static EncryptedPassword seal(GetPublicKeyResponse key, String password) {
    PasswordPlaintext plain =
        PasswordPlaintext.newBuilder()
            .setNonce(key.getNonce())
            .setEncryptedAtMs(key.getServerTimeMs())
            .setPassword(password)
            .build();
    try {
      X509EncodedKeySpec spki = new X509EncodedKeySpec(key.getSpki().toByteArray());
      PublicKey publicKey = KeyFactory.getInstance("RSA").generatePublic(spki);
      Cipher cipher = Cipher.getInstance("RSA/ECB/OAEPPadding");
      cipher.init(Cipher.ENCRYPT_MODE, publicKey, OAEP);
      byte[] ciphertext = cipher.doFinal(plain.toByteArray());
      return EncryptedPassword.newBuilder()
          .setKeyId(key.getKeyId())
          .setCiphertext(ByteString.copyFrom(ciphertext))
          .build();
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException("the password cannot be encrypted", error);
    }
  }
}
