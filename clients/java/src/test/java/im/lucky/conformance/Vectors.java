package im.lucky.conformance;

import com.google.protobuf.Message;
import im.lucky.auth.v1.PasswordPlaintext;
import im.lucky.error.v1.ErrorDetail;
import im.lucky.frame.v1.ClientFrame;
import im.lucky.frame.v1.ServerFrame;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/** Messages in bytes and in JSON. */
final class Vectors {
  private static final List<Message> MESSAGES =
      List.of(
          ClientFrame.getDefaultInstance(),
          ServerFrame.getDefaultInstance(),
          ErrorDetail.getDefaultInstance(),
          PasswordPlaintext.getDefaultInstance());

  private Vectors() {}

  static byte[] bytes(Object hex) {
    return HexFormat.of().parseHex(String.valueOf(hex).replaceAll("\\s", ""));
  }

  static void check(Map<String, Object> vector) throws Exception {
    byte[] bytes = bytes(vector.get("hex"));
    Message prototype =
        MESSAGES.stream()
            .filter(one -> one.getDescriptorForType().getFullName().equals(vector.get("message")))
            .findFirst()
            .orElseThrow(() -> new AssertionError("no message " + vector.get("message")));
    Message decoded = prototype.getParserForType().parseFrom(bytes);
    Message encoded = Values.message(vector.get("json"), prototype);
    Values.match("the decoded message", Values.json(encoded), Values.json(decoded));
    Values.match("the encoded JSON", Values.json(decoded), Values.json(encoded));
    if (Boolean.TRUE.equals(vector.get("decode_only"))) return;
    String written = HexFormat.of().formatHex(encoded.toByteArray());
    String expected = HexFormat.of().formatHex(bytes);
    if (!written.equals(expected))
      throw new AssertionError("the JSON encodes to " + written + ", expected " + expected);
  }
}
