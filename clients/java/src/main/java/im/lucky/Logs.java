package im.lucky;

import im.lucky.frame.v1.SyncRequired;
import im.lucky.message.v1.Conversation;
import im.lucky.message.v1.Entry;
import im.lucky.message.v1.ListEntriesRequest;
import im.lucky.message.v1.ListEntriesResponse;
import im.lucky.message.v1.SyncRequest;
import im.lucky.message.v1.SyncResponse;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** The logs of all conversations on a device: orders entries, fetches missing ones, catches up. */
final class Logs {
  /** Entries overtake each other slightly, so a gap may close by itself. */
  private static final long GAP_DELAY_MS = 200;

  private static final int ENTRIES_PER_PAGE = 500;
  private static final int CONVERSATIONS_PER_PAGE = 200;

  /** Most entries that one conversation buffers behind a gap; later ones are fetched. */
  private static final int MAX_BUFFERED = 1_000;

  private static final long LONGEST_RESYNC_MS = 60_000;

  private record Buffered(Entry entry, boolean own) {}

  /** One conversation. Entries are buffered until the log has begun. */
  private static final class Log {
    final long id;
    boolean begun;

    /** The sequence up to which the device has every entry. */
    long last;

    /** The greatest sequence that exists. */
    long known;

    long epoch;
    final TreeMap<Long, Buffered> buffer = new TreeMap<>();
    boolean gapWatched;
    boolean fetching;
    final List<Runnable> afterFetch = new ArrayList<>();

    Log(long id) {
      this.id = id;
    }
  }

  private final Session session;
  private final Map<Long, Log> byId = new HashMap<>();
  private String cursor = "";

  /** Whether a sync was ever complete: then an unknown conversation is new. */
  private boolean synced;

  private boolean syncing;
  private boolean requested;
  private long resyncMs;

  Logs(Session session) {
    this.session = session;
  }

  void restore(State state) {
    cursor = state.cursor();
    synced = state.synced();
    state
        .logs()
        .forEach(
            (id, position) -> {
              Log log = log(id);
              log.begun = true;
              log.last = log.known = position.last();
              log.epoch = position.epoch();
            });
  }

  State state(Sends sends) {
    Map<Long, State.Position> positions = new HashMap<>();
    for (Log log : byId.values())
      if (log.begun) positions.put(log.id, new State.Position(log.last, log.epoch));
    return new State(cursor, synced, positions, sends.requests());
  }

  long epochOf(long conversationId) {
    return log(conversationId).epoch;
  }

  private Log log(long id) {
    return byId.computeIfAbsent(id, Log::new);
  }

  void deliver(List<Entry> entries) {
    for (Entry entry : entries) {
      offer(entry, session.sends().isOwn(entry));
      Log log = log(entry.getConversationId());
      if (log.begun) acknowledge(log); // Also for a duplicate: the last one may have been lost.
    }
  }

  /** Takes one entry, late or duplicated, and releases those that are next. */
  void offer(Entry entry, boolean own) {
    Log log = log(entry.getConversationId());
    long sequence = entry.getSequence();
    log.known = Math.max(log.known, sequence);
    if (log.begun && sequence <= log.last) return;
    Buffered before = log.buffer.get(sequence);
    boolean isNext = log.begun && sequence == log.last + 1;
    if (before != null || own || isNext || log.buffer.size() < MAX_BUFFERED)
      log.buffer.put(sequence, new Buffered(entry, own || before != null && before.own()));
    if (!log.begun && synced) {
      log.begun = true;
      requestSync(); // Fetches its name and members.
    }
    release(log);
    if (log.begun && log.known > log.last && !log.gapWatched && !log.fetching) {
      log.gapWatched = true;
      session.after(
          GAP_DELAY_MS,
          () -> {
            log.gapWatched = false;
            fetch(log, () -> {});
          });
    }
  }

  private void release(Log log) {
    while (log.begun) {
      Buffered next = log.buffer.remove(log.last + 1);
      if (next == null) return;
      log.last++;
      if (!next.own()) session.listener().onMessage(next.entry());
      acknowledge(log);
    }
  }

  private void acknowledge(Log log) {
    session.cursors().delivered(log.id, log.last, log.epoch);
  }

  /** Starts a log after a sequence. */
  private void begin(Log log, long last) {
    log.begun = true;
    log.last = last;
    log.known = Math.max(log.known, last);
    log.buffer.headMap(last, true).clear();
    release(log);
  }

  /** Discards what the device holds from another epoch; true when there was anything. */
  private boolean enterEpoch(Log log, long epoch) {
    boolean had = log.begun && log.epoch != 0 && log.epoch != epoch;
    log.epoch = epoch;
    if (had) {
      log.last = log.known = 0;
      log.buffer.clear();
      session.listener().onReset(log.id);
    }
    return had;
  }

  void syncRequired(SyncRequired required) {
    Log log = log(required.getConversationId());
    log.known = Math.max(log.known, required.getLastSequence());
    if (!log.begun) requestSync();
    else if (log.known > log.last) fetch(log, () -> {});
    else acknowledge(log);
  }

  /** Gets pages until the device has every entry, then runs `done`. */
  private void fetch(Log log, Runnable done) {
    log.afterFetch.add(done);
    if (!log.fetching) fetchNext(log);
  }

  private void fetchNext(Log log) {
    log.fetching = log.begun && log.known > log.last;
    if (!log.fetching) {
      List<Runnable> waiting = List.copyOf(log.afterFetch);
      log.afterFetch.clear();
      waiting.forEach(Runnable::run);
      return;
    }
    long heard = log.known;
    ListEntriesRequest request =
        ListEntriesRequest.newBuilder()
            .setConversationId(log.id)
            .setAfterSequence(log.last)
            .setPageSize(ENTRIES_PER_PAGE)
            .build();
    retrying(
        0,
        () -> session.client().retried(client -> client.messages().listEntries(request)),
        page -> {
          take(log, page, heard);
          fetchNext(log);
        },
        error -> {
          // The user may no longer read it. An entry or a sync tells when that changes.
          log.known = log.last;
          fetchNext(log);
        });
  }

  /** A page that starts later than the next sequence contains no gap: the user joined later. */
  private void take(Log log, ListEntriesResponse page, long heard) {
    if (enterEpoch(log, page.getEpoch())) {
      log.known = Math.max(log.known, page.getLastSequence());
    } else if (page.getEntriesCount() > 0) {
      long first = page.getEntries(0).getSequence();
      if (first > log.last + 1) begin(log, first - 1);
      for (Entry entry : page.getEntriesList()) offer(entry, session.sends().isOwn(entry));
    } else if (log.known <= heard) {
      log.known = log.last;
      log.buffer.clear();
    }
  }

  /** Repeats a call with back-off until it succeeds or fails for good. */
  private <T> void retrying(
      int attempt, Supplier<T> call, Consumer<T> done, Consumer<LuckyException> failed) {
    session.inBackground(
        call,
        done,
        error -> {
          if (!error.retryable()) {
            failed.accept(error);
            return;
          }
          long ceilingMs = Math.min(30_000, 500L << Math.min(attempt, 10));
          long delayMs = error.retryAfterMs() + ThreadLocalRandom.current().nextLong(ceilingMs);
          session.after(delayMs, () -> retrying(attempt + 1, call, done, failed));
        });
  }

  /** Catches up in the background; requests during a sync are served by one more. */
  void requestSync() {
    requested = true;
    if (syncing) return;
    syncing = true;
    requested = false;
    syncPage();
  }

  /**
   * Reads the changed conversations page by page. The cursor moves only after the entries of a page
   * have arrived, so a crash in between repeats work and loses nothing.
   */
  private void syncPage() {
    SyncRequest request =
        SyncRequest.newBuilder().setCursor(cursor).setPageSize(CONVERSATIONS_PER_PAGE).build();
    retrying(
        0,
        () -> session.client().retried(client -> client.messages().sync(request)),
        page -> catchUp(page.getConversationsList().iterator(), page),
        error -> syncing = false); // The login is over: the socket tells.
  }

  private void catchUp(Iterator<Conversation> rest, SyncResponse page) {
    if (rest.hasNext()) {
      catchUp(rest.next(), () -> catchUp(rest, page));
      return;
    }
    cursor = page.getNextCursor();
    if (page.getHasMore()) {
      syncPage();
      return;
    }
    endSync(page.getRetryAfterMs());
    syncing = false;
    if (requested) requestSync();
  }

  private void endSync(long retryAfterMs) {
    if (retryAfterMs == 0) {
      resyncMs = 0;
      synced = true;
      for (Log log : List.copyOf(byId.values())) {
        if (log.begun) continue;
        begin(log, 0); // New since the sync began.
        fetch(log, () -> {});
      }
      return;
    }
    // The devices of all users would otherwise repeat their syncs at the same time.
    resyncMs = Math.min(LONGEST_RESYNC_MS, Math.max(retryAfterMs, 2 * resyncMs));
    long delayMs = retryAfterMs + ThreadLocalRandom.current().nextLong(resyncMs);
    session.after(delayMs, this::requestSync);
  }

  /** Gets what the device misses of one conversation. */
  private void catchUp(Conversation conversation, Runnable done) {
    Log log = log(conversation.getConversationId());
    session.listener().onConversation(conversation);
    enterEpoch(log, conversation.getEpoch());
    log.known = Math.max(log.known, conversation.getLastSequence());
    if (!log.begun) begin(log, startOf(log, conversation));
    fetch(
        log,
        () -> {
          if (conversation.getDeliveredSequence() < log.last) acknowledge(log);
          session.after(0, done); // Not deeper on the stack for each conversation.
        });
  }

  /** The sequence after which the device begins in a conversation that it sees first. */
  private long startOf(Log log, Conversation conversation) {
    if (synced || session.allHistory()) return 0;
    long start = conversation.getDeliveredSequence();
    // An entry that was delivered to this session is new.
    if (!log.buffer.isEmpty()) start = Math.min(start, Collections.min(log.buffer.keySet()) - 1);
    return Math.max(start, conversation.getFirstSequence() - 1);
  }
}
