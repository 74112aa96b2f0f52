package im.lucky.conformance;

import im.lucky.Client;
import im.lucky.Listener;
import im.lucky.Session;
import im.lucky.State;
import im.lucky.message.v1.Entry;
import im.lucky.message.v1.Receipt;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.function.Supplier;

/** A client with its session, and what the session told. */
final class Device implements Listener {
  private static final long TIMEOUT_MS = 60_000;

  final Client client;
  Session session;
  private State state = State.EMPTY;
  private final Map<Long, Queue<Entry>> entries = new HashMap<>();
  private final List<Receipt> receipts = new ArrayList<>();
  private Closed closed;

  Device(Client client) {
    this.client = client;
  }

  void open() {
    session = Session.open(client, this, state, false);
  }

  void close() {
    session.close();
    state = session.state();
    session = null;
  }

  @Override
  public synchronized void onMessage(Entry entry) {
    entries.computeIfAbsent(entry.getConversationId(), id -> new ArrayDeque<>()).add(entry);
    notifyAll();
  }

  @Override
  public synchronized void onReceipt(Receipt receipt) {
    receipts.add(receipt);
    notifyAll();
  }

  @Override
  public synchronized void onClosed(Closed ended) {
    closed = ended;
    notifyAll();
  }

  Entry nextEntry(long conversationId) throws InterruptedException {
    return until(
        "an entry", () -> entries.getOrDefault(conversationId, new ArrayDeque<>()).poll());
  }

  Closed closed() throws InterruptedException {
    return until("the close", () -> closed);
  }

  /** Waits for a receipt of a user that has at least these sequences. */
  void receipt(long conversationId, long userId, long delivered, long read)
      throws InterruptedException {
    until(
        "a receipt",
        () ->
            receipts.stream()
                .filter(one -> one.getConversationId() == conversationId)
                .filter(one -> one.getUserId() == userId)
                .filter(one -> one.getDeliveredSequence() >= delivered)
                .filter(one -> one.getReadSequence() >= read)
                .findFirst()
                .orElse(null));
  }

  private synchronized <T> T until(String what, Supplier<T> look) throws InterruptedException {
    long untilMs = System.currentTimeMillis() + TIMEOUT_MS;
    while (true) {
      T found = look.get();
      if (found != null) return found;
      long leftMs = untilMs - System.currentTimeMillis();
      if (leftMs <= 0) throw new AssertionError("expected " + what);
      wait(leftMs);
    }
  }
}
