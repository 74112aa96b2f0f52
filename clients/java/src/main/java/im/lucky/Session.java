package im.lucky;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import com.google.protobuf.Parser;
import im.lucky.frame.v1.ClientFrame;
import im.lucky.frame.v1.CloseCode;
import im.lucky.frame.v1.Heartbeat;
import im.lucky.frame.v1.Hello;
import im.lucky.frame.v1.Kick;
import im.lucky.frame.v1.Renew;
import im.lucky.frame.v1.ResolveEndpointRequest;
import im.lucky.frame.v1.Rpc;
import im.lucky.frame.v1.RpcResult;
import im.lucky.frame.v1.ServerFrame;
import im.lucky.frame.v1.Welcome;
import im.lucky.message.v1.Accepted;
import im.lucky.message.v1.Content;
import im.lucky.message.v1.SendRequest;
import im.lucky.message.v1.SendResult;
import im.lucky.message.v1.Text;
import im.lucky.presence.v1.SendTypingRequest;
import io.grpc.Status;
import java.net.URI;
import java.net.http.HttpClient;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Keeps one WebSocket of one device open: reconnects with back-off, catches up, orders and
 * acknowledges entries, and repeats sends until they have a result. Safe for concurrent use.
 */
public final class Session implements AutoCloseable {
  /** Revision of the protocol that this package is written for. */
  private static final int REVISION = 1;

  private static final long OPEN_TIMEOUT_MS = 10_000;
  private static final long CALL_TIMEOUT_MS = 10_000;
  private static final long RENEWAL_RETRY_MS = 5_000;

  /** Close codes from here to 4999 mean: do not reconnect by yourself. */
  private static final int STAY_CLOSED_FROM = 4500;

  private final Client client;
  private final Listener listener;
  private final boolean allHistory;
  private final HttpClient http = HttpClient.newHttpClient();

  /** All state is used on this thread only. */
  private final ScheduledThreadPoolExecutor loop =
      new ScheduledThreadPoolExecutor(1, task -> daemon(task, "lucky-session"));

  /** Calls that block. */
  private final ExecutorService workers =
      Executors.newCachedThreadPool(task -> daemon(task, "lucky-session-call"));

  private final Sends sends = new Sends(this);
  private final Cursors cursors = new Cursors(this);
  private final Logs logs = new Logs(this);
  private final CompletableFuture<Welcome> opened = new CompletableFuture<>();
  private final CompletableFuture<Void> ended = new CompletableFuture<>();
  private final Map<Long, CompletableFuture<RpcResult>> calls = new HashMap<>();
  private volatile Welcome welcome = Welcome.getDefaultInstance();
  private Socket socket;
  private boolean open;
  private boolean closing;
  private int attempts;
  private long lastCall;

  /** Time of System.nanoTime at which the server wants this session to move; null for none. */
  private Long moveAtNs;

  private Session(Client client, Listener listener, State state, boolean allHistory) {
    this.client = client;
    this.listener = listener;
    this.allHistory = allHistory;
    // An idle thread ends, so that a closed session leaves none behind.
    loop.setKeepAliveTime(1, TimeUnit.SECONDS);
    loop.allowCoreThreadTimeOut(true);
    logs.restore(state);
    state.sends().forEach(sends::restore);
  }

  /**
   * Opens a session and waits for its first Welcome. Throws when the login is over.
   *
   * @param state the state of an earlier session, or State.EMPTY
   * @param allHistory whether a device without a state fetches every entry of every conversation;
   *     otherwise it begins after the entries that the user's other devices have received
   */
  public static Session open(Client client, Listener listener, State state, boolean allHistory) {
    Session session = new Session(client, listener, state, allHistory);
    session.after(0, session::connect);
    try {
      session.opened.join();
    } catch (RuntimeException error) {
      throw LuckyException.of(error);
    }
    return session;
  }

  /** Opens a session without an earlier state. */
  public static Session open(Client client, Listener listener) {
    return open(client, listener, State.EMPTY, false);
  }

  /** The direct conversation with a user; the first message creates it. */
  public static SendRequest toUser(long userId) {
    return SendRequest.newBuilder().setUserId(userId).build();
  }

  /** A conversation, such as a group. */
  public static SendRequest toConversation(long conversationId) {
    return SendRequest.newBuilder().setConversationId(conversationId).build();
  }

  /** The content of a plain text message. */
  public static Content text(String text) {
    return Content.newBuilder().setText(Text.newBuilder().setText(text)).build();
  }

  /**
   * Sends content to a target. Completes when the message is durable, or with a LuckyException when it
   * is refused. The send is repeated under its client_message_id, a random one unless the target has
   * one, until there is a result, also over several sockets.
   */
  public CompletableFuture<Accepted> send(SendRequest target, Content content) {
    return onLoop(() -> sends.add(target, content)).thenCompose(outcome -> outcome);
  }

  /** Reports that the user has read the conversation up to a sequence. */
  public void markRead(long conversationId, long sequence) {
    after(0, () -> cursors.read(conversationId, sequence, logs.epochOf(conversationId)));
  }

  /** Signals that the user types, or stopped. It may be lost. */
  public void typing(long conversationId, boolean typing) {
    SendTypingRequest request =
        SendTypingRequest.newBuilder()
            .setConversationId(conversationId)
            .setTyping(typing)
            .build();
    after(0, () -> write(ClientFrame.newBuilder().setTyping(request).build()));
  }

  /** Calls a unary method over the socket, such as "lucky.message.v1.MessageService/Sync". */
  public <T> CompletableFuture<T> call(String method, MessageLite request, Parser<T> parser) {
    CompletableFuture<CompletableFuture<RpcResult>> started =
        onLoop(
            () -> {
              long id = ++lastCall;
              CompletableFuture<RpcResult> result = new CompletableFuture<>();
              Rpc.Builder call = Rpc.newBuilder().setCallId(id).setMethod(method);
              call.setRequest(request.toByteString());
              calls.put(id, result);
              result.whenComplete((answer, error) -> after(0, () -> calls.remove(id)));
              if (!write(ClientFrame.newBuilder().setRpc(call).build()))
                result.completeExceptionally(LuckyException.unavailable("no session is open"));
              return result.orTimeout(CALL_TIMEOUT_MS, TimeUnit.MILLISECONDS);
            });
    return started.thenCompose(result -> result).thenApply(answer -> answerOf(answer, parser));
  }

  private static <T> T answerOf(RpcResult answer, Parser<T> parser) {
    if (answer.hasError()) {
      Status status = Status.fromCodeValue(answer.getError().getCode());
      throw new LuckyException(
          status.getCode(), answer.getError().getText(), answer.getError().getError());
    }
    try {
      return parser.parseFrom(answer.getResponse());
    } catch (InvalidProtocolBufferException error) {
      throw LuckyException.unavailable("an answer that cannot be read");
    }
  }

  /** The current state, to store. */
  public State state() {
    return onLoop(() -> logs.state(sends)).join();
  }

  /** The last Welcome. */
  public Welcome welcome() {
    return welcome;
  }

  /** Ends the session. Sends without a result stay in its state. */
  @Override
  public void close() {
    after(
        0,
        () -> {
          cursors.flush(true);
          closing = true;
          Socket current = socket;
          if (current == null) end(new Listener.Closed(0, Kick.getDefaultInstance(), null));
          else current.close();
        });
    ended.join();
  }

  private void connect() {
    if (closing) {
      end(new Listener.Closed(0, Kick.getDefaultInstance(), null));
      return;
    }
    Socket connecting = new Socket(this);
    socket = connecting;
    after(
        OPEN_TIMEOUT_MS,
        () -> {
          if (socket == connecting && !open) connecting.abort("no Welcome in time");
        });
    inBackground(
        () -> {
          String token = client.access();
          connecting.connect(http, resolve(), Duration.ofMillis(OPEN_TIMEOUT_MS));
          return token;
        },
        token -> {
          Hello hello =
              Hello.newBuilder().setAccessToken(token).setProtocolRevision(REVISION).build();
          connecting.write(ClientFrame.newBuilder().setHello(hello).build());
        },
        error -> lost(connecting, new Listener.Closed(0, connecting.kick, error)));
  }

  private URI resolve() {
    String url = "/ws";
    try {
      ResolveEndpointRequest request = ResolveEndpointRequest.getDefaultInstance();
      url = client.retried(c -> c.endpoints().resolveEndpoint(request)).getUrl();
    } catch (RuntimeException error) {
      LuckyException failed = LuckyException.of(error);
      if (failed.loginOver()) throw failed;
    }
    return URI.create(url.startsWith("/") ? client.url().replaceFirst("^http", "ws") + url : url);
  }

  /** Takes a frame of a socket. */
  void receive(Socket from, ServerFrame frame) {
    if (socket != from) return;
    if (frame.hasWelcome()) enter(frame.getWelcome());
    else if (frame.hasKick()) from.kick = frame.getKick();
    else if (open) receive(frame);
  }

  private void enter(Welcome first) {
    welcome = first;
    open = true;
    attempts = 0;
    client.serverTime(first.getServerTimeMs());
    socket.throttle(first.getLimits());
    beat(socket, Math.max(200, first.getHeartbeatIntervalMs()));
    opened.complete(first);
    listener.onOpen(first);
    sends.dispatch();
    cursors.repeat();
    logs.requestSync();
  }

  /** Sends heartbeats, and ends the socket when nothing has arrived for two intervals. */
  private void beat(Socket beating, long intervalMs) {
    after(
        intervalMs / 2,
        () -> {
          if (socket != beating) return;
          if (beating.quietMs() > 2 * intervalMs) {
            beating.abort("nothing received for two intervals");
            return;
          }
          write(ClientFrame.newBuilder().setHeartbeat(Heartbeat.getDefaultInstance()).build());
          beat(beating, intervalMs);
        });
  }

  private void receive(ServerFrame frame) {
    switch (frame.getKindCase()) {
      case DELIVER -> logs.deliver(frame.getDeliver().getEntriesList());
      case SEND_RESULTS -> {
        for (SendResult result : frame.getSendResults().getResultsList()) sends.settle(result);
      }
      case SYNC_REQUIRED -> logs.syncRequired(frame.getSyncRequired());
      case RPC_RESULT -> {
        CompletableFuture<RpcResult> result = calls.remove(frame.getRpcResult().getCallId());
        if (result != null) result.complete(frame.getRpcResult());
      }
      case RECEIPT -> listener.onReceipt(frame.getReceipt());
      case TYPING -> listener.onTyping(frame.getTyping());
      case SECURITY_NOTICE -> listener.onNotice(frame.getSecurityNotice());
      case MOVE -> {
        Socket moving = socket;
        moveAtNs = System.nanoTime() + frame.getMove().getAfterMs() * 1_000_000;
        after(frame.getMove().getAfterMs(), moving::close);
      }
      case TOKEN_EXPIRING -> renew(socket, client.tokens().getAccessToken());
      default -> {} // Kinds of later servers.
    }
  }

  /** Continues the session with a fresh access token. */
  private void renew(Socket renewing, String used) {
    if (socket != renewing) return;
    inBackground(
        () -> client.refresh(used),
        token -> {
          Renew renew = Renew.newBuilder().setAccessToken(token).build();
          write(ClientFrame.newBuilder().setRenew(renew).build());
        },
        error -> {
          if (!error.loginOver()) after(RENEWAL_RETRY_MS, () -> renew(renewing, used));
        });
  }

  /** A socket has ended: decides whether and when the next one opens. */
  void lost(Socket from, Listener.Closed closed) {
    if (socket != from) return;
    socket = null;
    open = false;
    for (CompletableFuture<RpcResult> result : Map.copyOf(calls).values())
      result.completeExceptionally(LuckyException.unavailable("the session broke"));
    sends.lost();
    if (closing || staysClosed(closed) || closed.error() != null && closed.error().loginOver()) {
      end(closing ? new Listener.Closed(0, closed.kick(), null) : closed);
      return;
    }
    long waitMs = pauseMs(closed);
    attempts++;
    moveAtNs = null;
    if (closed.code() != CloseCode.CLOSE_CODE_TOKEN_EXPIRED_VALUE) {
      after(waitMs, this::connect);
      return;
    }
    // A failure shows at the next attempt, when it looks for a token.
    Runnable next = () -> after(waitMs, this::connect);
    String used = client.tokens().getAccessToken();
    inBackground(() -> client.refresh(used), token -> next.run(), error -> next.run());
  }

  private static boolean staysClosed(Listener.Closed closed) {
    return switch (closed.kick().getAction()) {
      case RECONNECT_ACTION_RECONNECT -> false;
      case RECONNECT_ACTION_STAY_CLOSED -> true;
      default -> closed.code() >= STAY_CLOSED_FROM && closed.code() < 5000;
    };
  }

  /** Full jitter below a ceiling that doubles up to 30 s. */
  private long pauseMs(Listener.Closed last) {
    if (moveAtNs != null) return Math.max(0, (moveAtNs - System.nanoTime()) / 1_000_000);
    long ceilingMs = Math.min(30_000, 500L << Math.min(attempts, 10));
    long waitMs = ThreadLocalRandom.current().nextLong(ceilingMs) + last.kick().getRetryAfterMs();
    boolean busy =
        last.code() == CloseCode.CLOSE_CODE_RATE_LIMITED_VALUE
            || last.code() == CloseCode.CLOSE_CODE_UNAVAILABLE_VALUE;
    return busy ? Math.max(1_000, waitMs) : waitMs;
  }

  private void end(Listener.Closed closed) {
    if (ended.isDone()) return;
    LuckyException error =
        closed.error() != null
            ? closed.error()
            : LuckyException.unavailable("the session is closed: " + closed.code());
    sends.fail(error);
    opened.completeExceptionally(error);
    listener.onClosed(closed);
    ended.complete(null);
    workers.shutdown();
  }

  // ── For the parts of the session, on its thread.

  Client client() {
    return client;
  }

  Listener listener() {
    return listener;
  }

  boolean allHistory() {
    return allHistory;
  }

  Sends sends() {
    return sends;
  }

  Cursors cursors() {
    return cursors;
  }

  Logs logs() {
    return logs;
  }

  boolean isOpen() {
    return open;
  }

  /** Writes a frame; false when no session is open. */
  boolean write(ClientFrame frame) {
    if (!open) return false;
    socket.write(frame);
    return true;
  }

  /** Runs a task on the session's thread after a delay. */
  void after(long delayMs, Runnable task) {
    Runnable reported =
        () -> {
          try {
            task.run();
          } catch (RuntimeException error) { // Such as one that a listener throws.
            Thread thread = Thread.currentThread();
            thread.getUncaughtExceptionHandler().uncaughtException(thread, error);
          }
        };
    loop.schedule(reported, delayMs, TimeUnit.MILLISECONDS);
  }

  private <T> CompletableFuture<T> onLoop(Supplier<T> work) {
    return CompletableFuture.supplyAsync(work, loop);
  }

  /** Runs a blocking call elsewhere, and takes its outcome on the session's thread. */
  <T> void inBackground(Supplier<T> call, Consumer<T> done, Consumer<LuckyException> failed) {
    try {
      CompletableFuture.supplyAsync(call, workers)
          .whenCompleteAsync(
              (value, error) -> {
                if (ended.isDone()) return;
                if (error == null) done.accept(value);
                else failed.accept(LuckyException.of(error));
              },
              loop);
    } catch (RejectedExecutionException over) {
      // The session has ended.
    }
  }

  private static Thread daemon(Runnable task, String name) {
    Thread thread = new Thread(task, name);
    thread.setDaemon(true);
    return thread;
  }

}
