package im.lucky;

import im.lucky.auth.v1.AuthServiceGrpc;
import im.lucky.auth.v1.Device;
import im.lucky.auth.v1.DeviceServiceGrpc;
import im.lucky.auth.v1.EncryptedPassword;
import im.lucky.auth.v1.GetPublicKeyRequest;
import im.lucky.auth.v1.GetPublicKeyResponse;
import im.lucky.auth.v1.LoginRequest;
import im.lucky.auth.v1.LoginResponse;
import im.lucky.auth.v1.RefreshRequest;
import im.lucky.auth.v1.RegisterRequest;
import im.lucky.auth.v1.RegisterResponse;
import im.lucky.auth.v1.Tokens;
import im.lucky.error.v1.ErrorDetail;
import im.lucky.error.v1.ErrorReason;
import im.lucky.frame.v1.EndpointServiceGrpc;
import im.lucky.group.v1.GroupServiceGrpc;
import im.lucky.message.v1.ConversationServiceGrpc;
import im.lucky.message.v1.MessageServiceGrpc;
import im.lucky.presence.v1.PresenceServiceGrpc;
import im.lucky.user.v1.UserServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * Calls the services of one server as one device, by gRPC. The stubs carry the access token, which is
 * refreshed when a stub is asked for: ask for a stub per call. Safe for concurrent use.
 */
public final class Client implements AutoCloseable {
  private static final long CALL_TIMEOUT_S = 10;

  /** The server accepts a retry with the same refresh token only within 10 s after the exchange. */
  private static final long REFRESH_TIMEOUT_S = 3;

  /** Access tokens are exchanged this long before they expire. */
  private static final long REFRESH_AHEAD_MS = 30_000;

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final String url;
  private final ManagedChannel channel;
  private final Object refreshing = new Object();
  private volatile Tokens tokens;

  /** The server's clock minus the local one, ms. */
  private volatile long skewMs;

  /** Creates a client of the server at an address such as "https://chat.example.org". */
  public Client(String url) {
    this.url = url.replaceAll("/$", "");
    URI uri = URI.create(this.url);
    boolean secure = "https".equals(uri.getScheme());
    int port = uri.getPort() >= 0 ? uri.getPort() : secure ? 443 : 80;
    ManagedChannelBuilder<?> builder = ManagedChannelBuilder.forAddress(uri.getHost(), port);
    this.channel = secure ? builder.build() : builder.usePlaintext().build();
  }

  public String url() {
    return url;
  }

  /** The connection, for stubs of your own. */
  public ManagedChannel channel() {
    return channel;
  }

  public AuthServiceGrpc.AuthServiceBlockingStub auth() {
    return authorized(AuthServiceGrpc.newBlockingStub(channel));
  }

  public DeviceServiceGrpc.DeviceServiceBlockingStub devices() {
    return authorized(DeviceServiceGrpc.newBlockingStub(channel));
  }

  public UserServiceGrpc.UserServiceBlockingStub users() {
    return authorized(UserServiceGrpc.newBlockingStub(channel));
  }

  public MessageServiceGrpc.MessageServiceBlockingStub messages() {
    return authorized(MessageServiceGrpc.newBlockingStub(channel));
  }

  public ConversationServiceGrpc.ConversationServiceBlockingStub conversations() {
    return authorized(ConversationServiceGrpc.newBlockingStub(channel));
  }

  public GroupServiceGrpc.GroupServiceBlockingStub groups() {
    return authorized(GroupServiceGrpc.newBlockingStub(channel));
  }

  public PresenceServiceGrpc.PresenceServiceBlockingStub presence() {
    return authorized(PresenceServiceGrpc.newBlockingStub(channel));
  }

  public EndpointServiceGrpc.EndpointServiceBlockingStub endpoints() {
    return authorized(EndpointServiceGrpc.newBlockingStub(channel));
  }

  private <S extends AbstractStub<S>> S authorized(S stub) {
    Metadata headers = new Metadata();
    headers.put(AUTHORIZATION, "Bearer " + access());
    return stub.withDeadlineAfter(CALL_TIMEOUT_S, TimeUnit.SECONDS)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /**
   * Calls, and calls once more with a fresh token when the server no longer takes the first one, such
   * as {@code client.retried(c -> c.users().getUser(request))}. Throws LuckyExceptions.
   */
  public <T> T retried(Function<Client, T> call) {
    String used = access();
    try {
      return call.apply(this);
    } catch (RuntimeException error) {
      LuckyException failed = LuckyException.of(error);
      if (failed.reason() != ErrorReason.ERROR_REASON_TOKEN_EXPIRED) throw failed;
      refresh(used);
      return call.apply(this);
    }
  }

  /** Creates an account and does not log in. A random key makes a retry harmless; empty for none. */
  public RegisterResponse register(String userName, String password, String key) {
    return sealed(
        password,
        sealed ->
            anonymous(CALL_TIMEOUT_S)
                .register(
                    RegisterRequest.newBuilder()
                        .setUserName(userName)
                        .setPassword(sealed)
                        .setClientRegistrationId(key)
                        .build()));
  }

  /** Logs the device in and keeps its tokens. */
  public LoginResponse login(String userName, String password, Device device) {
    LoginResponse answer =
        sealed(
            password,
            sealed ->
                anonymous(CALL_TIMEOUT_S)
                    .login(
                        LoginRequest.newBuilder()
                            .setUserName(userName)
                            .setPassword(sealed)
                            .setDevice(device)
                            .build()));
    tokens = answer.getTokens();
    return answer;
  }

  private AuthServiceGrpc.AuthServiceBlockingStub anonymous(long timeoutS) {
    return AuthServiceGrpc.newBlockingStub(channel).withDeadlineAfter(timeoutS, TimeUnit.SECONDS);
  }

  /** Calls with the password encrypted; retries once when the server's key was just rotated. */
  private <T> T sealed(String password, Function<EncryptedPassword, T> call) {
    for (boolean again = true; ; again = false) {
      try {
        GetPublicKeyResponse key =
            anonymous(CALL_TIMEOUT_S).getPublicKey(GetPublicKeyRequest.getDefaultInstance());
        serverTime(key.getServerTimeMs());
        return call.apply(Passwords.seal(key, password));
      } catch (RuntimeException error) {
        LuckyException failed = LuckyException.of(error);
        if (!again || failed.reason() != ErrorReason.ERROR_REASON_ENCRYPTION_INVALID) throw failed;
      }
    }
  }

  /** The current tokens, to store them; null when nobody is logged in. */
  public Tokens tokens() {
    return tokens;
  }

  /** Continues an earlier login. */
  public void setTokens(Tokens tokens) {
    this.tokens = tokens;
  }

  void serverTime(long nowMs) {
    skewMs = nowMs - System.currentTimeMillis();
  }

  /** An access token that does not expire soon. */
  String access() {
    Tokens current = tokens;
    if (current == null) {
      ErrorDetail detail =
          ErrorDetail.newBuilder().setReason(ErrorReason.ERROR_REASON_TOKEN_INVALID).build();
      throw new LuckyException(Status.Code.UNAUTHENTICATED, "not logged in", detail);
    }
    long nowMs = System.currentTimeMillis() + skewMs;
    if (nowMs + REFRESH_AHEAD_MS < current.getAccessTokenExpiresAtMs())
      return current.getAccessToken();
    return refresh(current.getAccessToken());
  }

  /** Exchanges the refresh token, unless the used access token was replaced meanwhile. */
  String refresh(String used) {
    synchronized (refreshing) { // A refresh token works once.
      Tokens current = tokens;
      if (!current.getAccessToken().equals(used)) return current.getAccessToken();
      RefreshRequest request =
          RefreshRequest.newBuilder().setRefreshToken(current.getRefreshToken()).build();
      for (boolean again = true; ; again = false) {
        try {
          tokens = anonymous(REFRESH_TIMEOUT_S).refresh(request).getTokens();
          return tokens.getAccessToken();
        } catch (RuntimeException error) {
          LuckyException failed = LuckyException.of(error);
          // A lost answer: the same token works once more within ten seconds.
          if (!again || failed.reason() != ErrorReason.ERROR_REASON_UNAVAILABLE) throw failed;
        }
      }
    }
  }

  @Override
  public void close() {
    channel.shutdownNow();
  }
}
