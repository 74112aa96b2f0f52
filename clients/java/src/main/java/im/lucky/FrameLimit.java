package im.lucky;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import im.lucky.frame.v1.ClientFrame;
import im.lucky.frame.v1.Limits;
import java.util.List;
import java.util.Map;

/** Throttles frames below the server's rate limit: other sessions of the user share it. */
final class FrameLimit {
  /** Each of these amounts adds 1 to the weight of a frame. */
  private static final int BYTES_PER_WEIGHT = 16_384;

  private static final int FIELDS_PER_WEIGHT = 40;

  /** Time in which the server allows one more frame. */
  private final long intervalNs;

  /** The time that a burst is ahead at most. */
  private final long aheadNs;

  /** When the burst is available as a whole. */
  private long fullAtNs = System.nanoTime();

  FrameLimit(Limits limits) {
    boolean unlimited = limits.getFramesPerSecond() <= 0 || limits.getFramesBurst() <= 0;
    intervalNs = unlimited ? 0 : (long) (1e9 / (0.8 * limits.getFramesPerSecond()));
    aheadNs = (long) (0.75 * limits.getFramesBurst() * intervalNs);
  }

  /** Reserves the place of the next frame. Returns the delay until it may be sent; 0: now. */
  synchronized long reserveNs(int weight) {
    long nowNs = System.nanoTime();
    fullAtNs = nowNs + Math.max(0, fullAtNs - nowNs) + weight * intervalNs;
    return Math.max(0, fullAtNs - nowNs - aheadNs);
  }

  /** The number of frames that a frame counts as in the server's rate limit, at most. */
  static int weightOf(ClientFrame frame) {
    return 1 + frame.getSerializedSize() / BYTES_PER_WEIGHT + fieldsOf(frame) / FIELDS_PER_WEIGHT;
  }

  /** Counts the fields of a message at all depths. */
  private static int fieldsOf(Message message) {
    int count = 0;
    for (Map.Entry<FieldDescriptor, Object> field : message.getAllFields().entrySet()) {
      Object value = field.getValue();
      for (Object one : value instanceof List<?> values ? values : List.of(value))
        count += 1 + (one instanceof Message nested ? fieldsOf(nested) : 0);
    }
    return count;
  }
}
