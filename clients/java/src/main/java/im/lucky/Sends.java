package im.lucky;

import im.lucky.frame.v1.ClientFrame;
import im.lucky.message.v1.Accepted;
import im.lucky.message.v1.Content;
import im.lucky.message.v1.Entry;
import im.lucky.message.v1.SendRequest;
import im.lucky.message.v1.SendResult;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;

/** Writes sends in the order of their calls and repeats them until they have a result. */
final class Sends {
  private static final class Send {
    final SendRequest request;
    final CompletableFuture<Accepted> outcome = new CompletableFuture<>();
    boolean inFlight;
    int attempts;

    /** Delays a send that was refused for a time, and all later ones to its target. */
    long notBeforeNs = System.nanoTime();

    Send(SendRequest request) {
      this.request = request;
    }

    Object target() {
      return List.of(request.getTargetCase(), request.getUserId(), request.getConversationId());
    }
  }

  private final Session session;
  private final List<Send> pending = new ArrayList<>();

  Sends(Session session) {
    this.session = session;
  }

  CompletableFuture<Accepted> add(SendRequest target, Content content) {
    SendRequest.Builder request = target.toBuilder().setContent(content);
    if (request.getClientMessageId().isEmpty())
      request.setClientMessageId(UUID.randomUUID().toString());
    Send added = new Send(request.build());
    pending.add(added);
    dispatch();
    return added.outcome;
  }

  void restore(SendRequest request) {
    Send restored = new Send(request);
    restored.attempts = 1;
    pending.add(restored);
  }

  List<SendRequest> requests() {
    return pending.stream().map(one -> one.request).toList();
  }

  /** Writes what may be sent now: in order per target, never two with one key. */
  void dispatch() {
    if (!session.isOpen()) return;
    int limit = Math.max(1, session.welcome().getLimits().getMaxSendsInFlight());
    Set<String> keys = new HashSet<>();
    for (Send one : pending) if (one.inFlight) keys.add(one.request.getClientMessageId());
    Set<Object> delayed = new HashSet<>();
    long nowNs = System.nanoTime();
    for (Send one : pending) {
      if (keys.size() >= limit) return;
      if (one.inFlight) continue;
      boolean early = nowNs - one.notBeforeNs < 0;
      if (early || keys.contains(one.request.getClientMessageId())) delayed.add(one.target());
      if (delayed.contains(one.target())) continue;
      if (!session.write(ClientFrame.newBuilder().setSend(one.request).build())) return;
      one.inFlight = true;
      one.attempts++;
      keys.add(one.request.getClientMessageId());
    }
  }

  /** Takes the result of a send. */
  void settle(SendResult result) {
    String key = result.getClientMessageId();
    for (Send one : pending) {
      if (!one.inFlight || !one.request.getClientMessageId().equals(key)) continue;
      if (result.hasAccepted()) {
        Accepted accepted = result.getAccepted();
        session.logs().offer(entryOf(one.request, accepted), true);
        pending.remove(one);
        one.outcome.complete(accepted);
      } else {
        LuckyException error =
            new LuckyException(
                Status.Code.UNKNOWN,
                result.getRefused().getText(),
                result.getRefused().getError());
        if (error.retryable()) {
          one.inFlight = false;
          long backOffMs = ThreadLocalRandom.current().nextLong(200L << Math.min(one.attempts, 5));
          long waitMs = Math.max(error.retryAfterMs(), backOffMs);
          one.notBeforeNs = System.nanoTime() + waitMs * 1_000_000;
          session.after(waitMs + 1, this::dispatch);
          return;
        }
        pending.remove(one);
        one.outcome.completeExceptionally(error);
      }
      dispatch();
      return;
    }
  }

  /** The socket broke: the outcomes are unknown. */
  void lost() {
    for (Send one : pending) one.inFlight = false;
  }

  /** Ends the waiting of all senders; the requests stay for the state. */
  void fail(LuckyException error) {
    for (Send one : pending) one.outcome.completeExceptionally(error);
  }

  /** Whether the entry is a send of this session that has no result yet. */
  boolean isOwn(Entry entry) {
    if (entry.getSenderId() != session.welcome().getUserId()) return false;
    String key = entry.getClientMessageId();
    return pending.stream()
        .anyMatch(one -> one.attempts > 0 && one.request.getClientMessageId().equals(key));
  }

  private Entry entryOf(SendRequest request, Accepted accepted) {
    return Entry.newBuilder()
        .setConversationId(accepted.getConversationId())
        .setSequence(accepted.getSequence())
        .setAcceptedAtMs(accepted.getAcceptedAtMs())
        .setMessageId(accepted.getMessageId())
        .setSenderId(session.welcome().getUserId())
        .setClientMessageId(request.getClientMessageId())
        .setContent(request.getContent())
        .build();
  }
}
