package im.lucky;

import im.lucky.message.v1.SendRequest;
import java.util.List;
import java.util.Map;

/**
 * The state that a device stores to resume a session. One state belongs to one user.
 *
 * @param cursor the position of Sync
 * @param synced whether a sync was ever complete
 * @param logs positions in the conversations, by their ids
 * @param sends requests without a result, in the order of their calls
 */
public record State(
    String cursor, boolean synced, Map<Long, Position> logs, List<SendRequest> sends) {
  /** The state of a device that was never connected. */
  public static final State EMPTY = new State("", false, Map.of(), List.of());

  /** The sequence up to which a device has every entry of a conversation, and its epoch. */
  public record Position(long last, long epoch) {}
}
