package im.lucky;

import im.lucky.frame.v1.ClientFrame;
import im.lucky.message.v1.AcknowledgeRequest;
import im.lucky.message.v1.Cursor;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

/** Joins acknowledgements, spreads them over time, and repeats them after a broken socket. */
final class Cursors {
  /** Acknowledgements are joined for this long. */
  private static final long JOIN_DELAY_MS = 50;

  /** Maximum cursors in a frame when Welcome names no other. */
  private static final int MAX_CURSORS = 200;

  private static final class Pending {
    final Cursor.Builder value;

    /** Not sent on the current socket. */
    boolean dirty;

    boolean urgent;
    long notBeforeNs = System.nanoTime();

    Pending(long conversationId) {
      value = Cursor.newBuilder().setConversationId(conversationId);
    }
  }

  private final Session session;
  private final Map<Long, Pending> byId = new LinkedHashMap<>();
  private boolean scheduled;

  Cursors(Session session) {
    this.session = session;
  }

  private Pending of(long conversationId) {
    return byId.computeIfAbsent(conversationId, Pending::new);
  }

  /** The device has every entry up to the last one. */
  void delivered(long conversationId, long last, long epoch) {
    if (last == 0) return;
    Pending one = of(conversationId);
    one.value.setDeliveredSequence(last).setEpoch(epoch);
    one.dirty = true;
    schedule(JOIN_DELAY_MS);
  }

  void read(long conversationId, long sequence, long epoch) {
    Pending one = of(conversationId);
    one.value.setReadSequence(Math.max(one.value.getReadSequence(), sequence)).setEpoch(epoch);
    one.dirty = true;
    one.urgent = true;
    schedule(JOIN_DELAY_MS);
  }

  /** Repeats all acknowledgements: those of the broken socket may be lost. */
  void repeat() {
    for (Pending one : byId.values()) one.dirty = true;
    schedule(JOIN_DELAY_MS);
  }

  private void schedule(long delayMs) {
    if (scheduled) return;
    scheduled = true;
    session.after(
        delayMs,
        () -> {
          scheduled = false;
          flush(false);
        });
  }

  /**
   * Sends the cursors that are due. A conversation waits about half a second between two, so that
   * members of a busy group do not send more than they receive.
   */
  void flush(boolean everything) {
    if (!session.isOpen()) return; // They are repeated on the next socket.
    int named = session.welcome().getLimits().getMaxCursors();
    int limit = named > 0 ? named : MAX_CURSORS;
    AcknowledgeRequest.Builder due = AcknowledgeRequest.newBuilder();
    long nowNs = System.nanoTime();
    long waitMs = 0;
    for (Pending one : byId.values()) {
      if (!one.dirty) continue;
      long lateMs = (one.notBeforeNs - nowNs) / 1_000_000;
      if (due.getCursorsCount() == limit || lateMs > 0 && !everything && !one.urgent) {
        waitMs = Math.max(JOIN_DELAY_MS, lateMs);
        continue;
      }
      one.dirty = false;
      one.urgent = false;
      one.notBeforeNs = nowNs + ThreadLocalRandom.current().nextLong(400_000_000, 600_000_000);
      due.addCursors(one.value.build());
    }
    if (due.getCursorsCount() > 0)
      session.write(ClientFrame.newBuilder().setAcknowledge(due).build());
    if (waitMs > 0) schedule(waitMs);
  }
}
