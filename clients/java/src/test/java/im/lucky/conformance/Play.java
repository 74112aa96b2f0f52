package im.lucky.conformance;

import im.lucky.Client;
import im.lucky.LuckyException;
import im.lucky.Session;
import im.lucky.auth.v1.DeviceClass;
import im.lucky.auth.v1.LoginResponse;
import im.lucky.message.v1.Accepted;
import im.lucky.message.v1.Content;
import im.lucky.message.v1.SendRequest;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;

/** One run of the scenario. */
final class Play {
  private static final long TIMEOUT_MS = 60_000;
  private static final long POLL_INTERVAL_MS = 50;

  /** The steps that this runner knows, with the keys that each may have. */
  private static final Map<String, String> OPERATIONS = new LinkedHashMap<>();

  static {
    OPERATIONS.put(
        "call", "over as request request_hex timeout_ms times eventually expect error save");
    OPERATIONS.put("login", "user password class expect save");
    OPERATIONS.put("open", "expect");
    OPERATIONS.put("close", "");
    OPERATIONS.put("closed", "code");
    OPERATIONS.put("send", "to key content background times expect error save");
    OPERATIONS.put("result", "expect error save");
    OPERATIONS.put("receive", "conversation entries texts times from");
    OPERATIONS.put("receipt", "conversation user delivered read");
    OPERATIONS.put("read", "conversation sequence");
    OPERATIONS.put("network", "");
  }

  private final String url;
  private final String networkUrl;
  private final Calls calls;
  private final HttpClient http = HttpClient.newHttpClient();
  private final Map<String, String> values = new HashMap<>();
  private final Map<String, Device> devices = new HashMap<>();
  private final Map<String, CompletableFuture<Accepted>> background = new HashMap<>();

  Play(String url, String networkUrl) {
    this.url = url;
    this.networkUrl = networkUrl;
    calls = new Calls(url);
    values.put("run", UUID.randomUUID().toString().substring(0, 8));
  }

  void end() {
    for (Device device : devices.values()) {
      if (device.session != null) device.session.close();
      device.client.close();
    }
    calls.close();
  }

  void step(Map<String, Object> step) throws Exception {
    String operation = operationOf(step);
    switch (operation) {
      case "call" -> call(step);
      case "login" -> login(step);
      case "send" -> send(step);
      case "network" -> network(String.valueOf(step.get("network")));
      case "result" -> sent(step, background.get(String.valueOf(step.get("result"))));
      default -> {
        // ${n} in the texts counts the entries.
        Map<String, Object> rest = new LinkedHashMap<>(step);
        Object pattern = rest.remove("texts");
        Map<String, Object> filled = Values.map(Values.fill(rest, values));
        for (String name : Values.texts(filled.get(operation))) {
          Device device = devices.get(name);
          if (device == null) throw new IllegalArgumentException("no device " + name);
          onDevice(operation, device, filled, pattern);
        }
      }
    }
  }

  /** The operation of a step. Throws for an unknown one, and for an unknown key. */
  private static String operationOf(Map<String, Object> step) {
    for (Map.Entry<String, String> operation : OPERATIONS.entrySet()) {
      Set<String> known = new HashSet<>(List.of(operation.getValue().split(" ")));
      known.add("title");
      known.add(operation.getKey());
      if (step.containsKey(operation.getKey()) && known.containsAll(step.keySet()))
        return operation.getKey();
    }
    throw new IllegalArgumentException(
        "unknown operation, or it does not know a key: " + step.keySet());
  }

  private void onDevice(
      String operation, Device device, Map<String, Object> step, Object pattern)
      throws Exception {
    switch (operation) {
      case "open" -> {
        device.open();
        answered(step, Values.json(device.session.welcome()), null);
      }
      case "close" -> device.close();
      case "closed" ->
          Values.match("close code", step.get("code"), device.closed().code());
      case "receive" -> receive(device, step, pattern);
      case "receipt" ->
          device.receipt(
              Long.parseLong(String.valueOf(step.get("conversation"))),
              Long.parseLong(String.valueOf(step.get("user"))),
              Values.number(step.get("delivered"), 0),
              Values.number(step.get("read"), 0));
      default ->
          device.session.markRead(
              Long.parseLong(String.valueOf(step.get("conversation"))),
              Values.number(step.get("sequence"), 0));
    }
  }

  private void call(Map<String, Object> step) throws Exception {
    for (long n = 1; n <= Values.number(step.get("times"), 1); n++) {
      Map<String, Object> filled = Values.map(Values.fill(step, counted(n)));
      for (String over : Values.texts(step.get("over"))) {
        try {
          callOver(over, filled);
        } catch (Exception | AssertionError error) {
          throw new AssertionError("over " + over + ": " + error, error);
        }
      }
    }
  }

  private void callOver(String over, Map<String, Object> step) throws Exception {
    Device device = devices.get(String.valueOf(step.get("as")));
    String token = device == null ? null : device.client.tokens().getAccessToken();
    Session session = device == null ? null : device.session;
    long untilMs = System.currentTimeMillis() + TIMEOUT_MS;
    while (true) {
      Map<String, Object> answer = null;
      RuntimeException failed = null;
      try {
        answer = calls.call(over, step, token, session);
      } catch (IllegalArgumentException broken) {
        throw broken;
      } catch (RuntimeException error) {
        failed = error;
      }
      try {
        answered(step, answer, failed);
        return;
      } catch (RuntimeException | AssertionError error) {
        boolean eventually = Boolean.TRUE.equals(step.get("eventually"));
        if (!eventually || System.currentTimeMillis() > untilMs) throw error;
      }
      Thread.sleep(POLL_INTERVAL_MS);
    }
  }

  private void login(Map<String, Object> step) throws Exception {
    String name = String.valueOf(step.get("login"));
    Device device = new Device(new Client(url));
    im.lucky.auth.v1.Device about =
        im.lucky.auth.v1.Device.newBuilder()
            .setDeviceId(name + "-" + values.get("run"))
            .setDeviceClass(DeviceClass.valueOf(String.valueOf(step.get("class"))))
            .build();
    String userName = String.valueOf(Values.fill(step.get("user"), values));
    LoginResponse answer =
        device.client.login(userName, String.valueOf(step.get("password")), about);
    devices.put(name, device);
    values.put(name + ".device_id", about.getDeviceId());
    values.put(name + ".refresh_token", answer.getTokens().getRefreshToken());
    answered(step, Values.json(answer), null);
  }

  private void send(Map<String, Object> step) throws Exception {
    Session session = devices.get(String.valueOf(step.get("send"))).session;
    List<CompletableFuture<Accepted>> all = new ArrayList<>();
    for (long n = 1; n <= Values.number(step.get("times"), 1); n++)
      all.add(sendOne(session, Values.map(Values.fill(step, counted(n)))));
    Object name = step.get("background");
    if (name != null) background.put(String.valueOf(name), all.get(0));
    else for (CompletableFuture<Accepted> sending : all) sent(step, sending);
  }

  private static CompletableFuture<Accepted> sendOne(Session session, Map<String, Object> step)
      throws Exception {
    SendRequest target =
        (SendRequest) Values.message(step.get("to"), SendRequest.getDefaultInstance());
    Content content =
        (Content) Values.message(step.get("content"), Content.getDefaultInstance());
    String key = String.valueOf(step.get("key"));
    return session.send(target.toBuilder().setClientMessageId(key).build(), content);
  }

  /** The saved values, and n. */
  private Map<String, String> counted(long n) {
    Map<String, String> counted = new HashMap<>(values);
    counted.put("n", String.valueOf(n));
    return counted;
  }

  private void sent(Map<String, Object> step, CompletableFuture<Accepted> sending)
      throws Exception {
    Map<String, Object> answer = null;
    RuntimeException failed = null;
    try {
      answer = Values.json(sending.join());
    } catch (RuntimeException error) {
      failed = error;
    }
    answered(step, answer, failed);
  }

  private static void receive(Device device, Map<String, Object> step, Object pattern)
      throws Exception {
    List<Object> expected = new ArrayList<>();
    if (step.get("entries") instanceof List<?> entries) expected.addAll(entries);
    for (long n = 1; n <= Values.number(step.get("times"), 0); n++) {
      Object text = Values.fill(pattern, Map.of("n", String.valueOf(n)));
      String sequence = String.valueOf(Values.number(step.get("from"), 0) + n - 1);
      expected.add(
          Map.of("sequence", sequence, "content", Map.of("text", Map.of("text", text))));
    }
    if (expected.isEmpty()) throw new IllegalArgumentException("nothing is expected");
    long conversationId = Long.parseLong(String.valueOf(step.get("conversation")));
    for (int at = 0; at < expected.size(); at++)
      Values.match(
          "entry " + (at + 1), expected.get(at), Values.json(device.nextEntry(conversationId)));
  }

  private void network(String mode) throws Exception {
    HttpRequest post =
        HttpRequest.newBuilder(URI.create(networkUrl + "/" + mode))
            .POST(HttpRequest.BodyPublishers.noBody())
            .build();
    int status = http.send(post, HttpResponse.BodyHandlers.discarding()).statusCode();
    if (status != 200) throw new IllegalArgumentException("the network does not know " + mode);
  }

  /** Compares an answer or an error with what the step expects, and saves values of the answer. */
  private void answered(Map<String, Object> step, Map<String, Object> answer, RuntimeException error) {
    if (step.containsKey("error")) {
      if (error == null) throw new AssertionError("it succeeded, expected an error");
      LuckyException failed = LuckyException.of(error);
      String code = failed.code().name().toLowerCase(Locale.ROOT);
      String reason = failed.reason().name().replace("ERROR_REASON_", "");
      Map<String, Object> actual =
          Map.of("code", code, "reason", reason, "field", failed.field());
      Values.match("error " + failed, Values.fill(step.get("error"), values), actual);
      return;
    }
    if (error != null) throw LuckyException.of(error);
    if (step.containsKey("expect"))
      Values.match("answer", Values.fill(step.get("expect"), values), answer);
    Values.save(step, answer, values);
  }
}
