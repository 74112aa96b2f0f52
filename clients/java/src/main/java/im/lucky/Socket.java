package im.lucky;

import com.google.protobuf.InvalidProtocolBufferException;
import im.lucky.frame.v1.ClientFrame;
import im.lucky.frame.v1.Kick;
import im.lucky.frame.v1.Limits;
import im.lucky.frame.v1.ServerFrame;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** One WebSocket: reads and writes frames. Its session hears of its end exactly once. */
final class Socket implements WebSocket.Listener {
  private static final long CLOSE_TIMEOUT_MS = 2_000;

  private final Session session;
  private final ByteArrayOutputStream received = new ByteArrayOutputStream();
  private volatile WebSocket webSocket;
  private volatile long heardAtNs = System.nanoTime();

  /** The writes so far: WebSocket takes one after the other. */
  private CompletableFuture<?> writes = CompletableFuture.completedFuture(null);

  /** Replaced by the limit of Welcome. */
  private FrameLimit limit = new FrameLimit(Limits.getDefaultInstance());

  /** The last Kick; used on the session's thread. */
  Kick kick = Kick.getDefaultInstance();

  Socket(Session session) {
    this.session = session;
  }

  /** Blocks until the socket is open. */
  void connect(HttpClient http, URI uri, Duration timeout) {
    webSocket =
        http.newWebSocketBuilder()
            .subprotocols("lucky.v1")
            .connectTimeout(timeout)
            .buildAsync(uri, this)
            .join();
  }

  /** Throttles the frames from here on. Called on the session's thread. */
  void throttle(Limits limits) {
    limit = new FrameLimit(limits);
  }

  /** Writes a frame within the rate limit. Called on the session's thread. */
  void write(ClientFrame frame) {
    ByteBuffer bytes = ByteBuffer.wrap(frame.toByteArray());
    int weight = FrameLimit.weightOf(frame);
    FrameLimit current = limit;
    writes =
        writes
            .thenCompose(before -> delay(current.reserveNs(weight)))
            .thenCompose(waited -> webSocket.sendBinary(bytes, true));
  }

  private static CompletableFuture<Void> delay(long ns) {
    if (ns == 0) return CompletableFuture.completedFuture(null);
    Executor later = CompletableFuture.delayedExecutor(ns, TimeUnit.NANOSECONDS);
    return CompletableFuture.runAsync(() -> {}, later);
  }

  /** Closes after the frames written so far. */
  void close() {
    if (webSocket == null) {
      abort("closed");
      return;
    }
    writes.whenComplete((done, error) -> webSocket.sendClose(WebSocket.NORMAL_CLOSURE, ""));
    session.after(CLOSE_TIMEOUT_MS, () -> abort("no answer to the close"));
  }

  /** Ends the socket at once. */
  void abort(String text) {
    if (webSocket != null) webSocket.abort();
    session.lost(this, new Listener.Closed(0, kick, LuckyException.unavailable(text)));
  }

  /** Time since the last frame arrived. */
  long quietMs() {
    return (System.nanoTime() - heardAtNs) / 1_000_000;
  }

  @Override
  public CompletionStage<?> onBinary(WebSocket from, ByteBuffer data, boolean last) {
    byte[] part = new byte[data.remaining()];
    data.get(part);
    received.writeBytes(part);
    if (!last) {
      from.request(1);
      return null;
    }
    byte[] whole = received.toByteArray();
    received.reset();
    heardAtNs = System.nanoTime();
    session.after(0, () -> take(from, whole));
    return null;
  }

  private void take(WebSocket from, byte[] whole) {
    try {
      session.receive(this, ServerFrame.parseFrom(whole));
      from.request(1); // The next frame waits until this one is handled.
    } catch (InvalidProtocolBufferException error) {
      abort("a frame that cannot be read");
    }
  }

  @Override
  public CompletionStage<?> onClose(WebSocket from, int code, String text) {
    session.after(0, () -> session.lost(this, new Listener.Closed(code, kick, null)));
    return null;
  }

  @Override
  public void onError(WebSocket from, Throwable error) {
    session.after(0, () -> abort(String.valueOf(error)));
  }
}
