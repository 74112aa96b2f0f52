package im.lucky;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import im.lucky.error.v1.ErrorDetail;
import im.lucky.error.v1.ErrorReason;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** An error with its reason. Switch on the reason, never on the text. */
public final class LuckyException extends RuntimeException {
  private static final Set<Status.Code> TEMPORARY =
      Set.of(
          Status.Code.UNAVAILABLE,
          Status.Code.DEADLINE_EXCEEDED,
          Status.Code.CANCELLED,
          Status.Code.ABORTED);

  private final Status.Code code;
  private final ErrorDetail detail;

  public LuckyException(Status.Code code, String text, ErrorDetail detail) {
    super(reasonName(detail) + ": " + text);
    this.code = code;
    this.detail = detail;
  }

  /** The reason; UNRECOGNIZED for one of a later server. */
  public ErrorReason reason() {
    return detail.getReason();
  }

  public Status.Code code() {
    return code;
  }

  /** Path of the field at fault for INVALID_ARGUMENT, else empty. */
  public String field() {
    return detail.getField();
  }

  /** Shortest useful delay of a retry; 0: an unchanged retry does not help. */
  public long retryAfterMs() {
    return detail.getRetryAfterMs();
  }

  /** Whether the unchanged call may succeed later. */
  public boolean retryable() {
    return retryAfterMs() > 0 || reason() == ErrorReason.ERROR_REASON_UNAVAILABLE;
  }

  /** Whether the device has to log in before it can call. */
  public boolean loginOver() {
    return switch (reason()) {
      case ERROR_REASON_REFRESH_TOKEN_INVALID,
          ERROR_REASON_TOKEN_INVALID,
          ERROR_REASON_TOKEN_REVOKED ->
          true;
      default -> false;
    };
  }

  /**
   * Converts the error of a call. An error without a detail comes from an intermediary, the network
   * or a deadline; it counts as UNAVAILABLE unless its code says otherwise.
   */
  public static LuckyException of(Throwable error) {
    if (error instanceof LuckyException own) return own;
    boolean wraps = error instanceof CompletionException || error instanceof ExecutionException;
    if (wraps && error.getCause() != null) return of(error.getCause());
    if (!(error instanceof StatusRuntimeException failed))
      return unavailable(String.valueOf(error));
    Status status = failed.getStatus();
    String text = String.valueOf(status.getDescription());
    com.google.rpc.Status details = StatusProto.fromThrowable(failed);
    if (details != null) {
      for (Any packed : details.getDetailsList()) {
        if (!packed.is(ErrorDetail.class)) continue;
        try {
          return new LuckyException(status.getCode(), text, packed.unpack(ErrorDetail.class));
        } catch (InvalidProtocolBufferException broken) {
          break; // Counts as an error without a detail.
        }
      }
    }
    ErrorReason reason =
        TEMPORARY.contains(status.getCode())
            ? ErrorReason.ERROR_REASON_UNAVAILABLE
            : ErrorReason.ERROR_REASON_UNSPECIFIED;
    return new LuckyException(
        status.getCode(), text, ErrorDetail.newBuilder().setReason(reason).build());
  }

  static LuckyException unavailable(String text) {
    ErrorReason reason = ErrorReason.ERROR_REASON_UNAVAILABLE;
    ErrorDetail detail = ErrorDetail.newBuilder().setReason(reason).build();
    return new LuckyException(Status.Code.UNAVAILABLE, text, detail);
  }

  private static String reasonName(ErrorDetail detail) {
    ErrorReason reason = detail.getReason();
    if (reason == ErrorReason.UNRECOGNIZED) return String.valueOf(detail.getReasonValue());
    return reason.name().replace("ERROR_REASON_", "").toUpperCase(Locale.ROOT);
  }
}
