package im.lucky.conformance;

import com.google.protobuf.Empty;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import im.lucky.Client;
import im.lucky.LuckyException;
import im.lucky.Passwords;
import im.lucky.Session;
import im.lucky.auth.v1.AuthServiceGrpc;
import im.lucky.auth.v1.DeviceServiceGrpc;
import im.lucky.auth.v1.GetPublicKeyRequest;
import im.lucky.error.v1.ErrorDetail;
import im.lucky.frame.v1.EndpointServiceGrpc;
import im.lucky.group.v1.GroupServiceGrpc;
import im.lucky.message.v1.ConversationServiceGrpc;
import im.lucky.message.v1.MessageServiceGrpc;
import im.lucky.presence.v1.PresenceServiceGrpc;
import im.lucky.user.v1.UserServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import io.grpc.ServiceDescriptor;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Calls of methods by their names, over each transport, with messages in JSON. */
final class Calls {
  private static final long TIMEOUT_MS = 60_000;

  private static final List<ServiceDescriptor> SERVICES =
      List.of(
          AuthServiceGrpc.getServiceDescriptor(),
          DeviceServiceGrpc.getServiceDescriptor(),
          EndpointServiceGrpc.getServiceDescriptor(),
          GroupServiceGrpc.getServiceDescriptor(),
          ConversationServiceGrpc.getServiceDescriptor(),
          MessageServiceGrpc.getServiceDescriptor(),
          PresenceServiceGrpc.getServiceDescriptor(),
          UserServiceGrpc.getServiceDescriptor());

  private final Client client;
  private final HttpClient http =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  Calls(String url) {
    client = new Client(url);
  }

  void close() {
    client.close();
  }

  Map<String, Object> call(String over, Map<String, Object> step, String token, Session session)
      throws Exception {
    MethodDescriptor<Message, Message> method = method(String.valueOf(step.get("call")));
    Message input = prototype(method.getRequestMarshaller());
    Message request =
        step.containsKey("request_hex")
            ? input.getParserForType().parseFrom(Vectors.bytes(step.get("request_hex")))
            : Values.message(sealed(Values.map(step.get("request"))), input);
    long timeoutMs = Values.number(step.get("timeout_ms"), TIMEOUT_MS);
    Message output = prototype(method.getResponseMarshaller());
    return switch (over) {
      case "grpc" -> {
        CallOptions options =
            CallOptions.DEFAULT.withDeadlineAfter(timeoutMs, TimeUnit.MILLISECONDS);
        yield Values.json(
            ClientCalls.blockingUnaryCall(authorized(token), method, options, request));
      }
      case "connect" -> post(method.getFullMethodName(), request, output, token, timeoutMs);
      case "socket" ->
          Values.json(
              session.call(method.getFullMethodName(), request, output.getParserForType()).join());
      default -> throw new IllegalArgumentException("unknown transport " + over);
    };
  }

  private Channel authorized(String token) {
    if (token == null) return client.channel();
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    return ClientInterceptors.intercept(
        client.channel(), MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  /** A call by Connect with JSON, as curl makes it. */
  private Map<String, Object> post(
      String method, Message request, Message output, String token, long timeoutMs)
      throws Exception {
    HttpRequest.Builder post =
        HttpRequest.newBuilder(URI.create(client.url() + "/" + method))
            .timeout(Duration.ofMillis(timeoutMs))
            .header("content-type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(JsonFormat.printer().print(request)));
    if (token != null) post.header("authorization", "Bearer " + token);
    try {
      HttpResponse<String> answer = http.send(post.build(), HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() != 200) throw connectError(Values.parse(answer.body()));
      Message.Builder read = output.newBuilderForType();
      JsonFormat.parser().ignoringUnknownFields().merge(answer.body(), read);
      return Values.json(read);
    } catch (HttpTimeoutException error) {
      ErrorDetail none = ErrorDetail.getDefaultInstance();
      throw new LuckyException(Status.Code.DEADLINE_EXCEEDED, "no answer", none);
    }
  }

  private static LuckyException connectError(Map<String, Object> body) throws Exception {
    String name = String.valueOf(body.get("code")).toUpperCase(Locale.ROOT);
    Status.Code code = Status.Code.valueOf(name.equals("CANCELED") ? "CANCELLED" : name);
    ErrorDetail detail = ErrorDetail.getDefaultInstance();
    if (body.get("details") instanceof List<?> details) {
      for (Object one : details) {
        if (!"lucky.error.v1.ErrorDetail".equals(Values.map(one).get("type"))) continue;
        String value = String.valueOf(Values.map(one).get("value"));
        detail = ErrorDetail.parseFrom(Base64.getDecoder().decode(value));
      }
    }
    return new LuckyException(code, String.valueOf(body.get("message")), detail);
  }

  /** Replaces each {$password: text} by an EncryptedPassword. */
  private Object sealed(Map<String, Object> value) throws Exception {
    if (value.get("$password") instanceof String password) {
      return Values.json(
          Passwords.seal(
              AuthServiceGrpc.newBlockingStub(client.channel())
                  .withDeadlineAfter(TIMEOUT_MS, TimeUnit.MILLISECONDS)
                  .getPublicKey(GetPublicKeyRequest.getDefaultInstance()),
              password));
    }
    Map<String, Object> replaced = new LinkedHashMap<>();
    for (Map.Entry<String, Object> field : value.entrySet()) {
      Object item = field.getValue();
      replaced.put(field.getKey(), item instanceof Map ? sealed(Values.map(item)) : item);
    }
    return replaced;
  }

  /** A method by its name; one that the contract does not have takes and returns no field. */
  @SuppressWarnings("unchecked")
  private static MethodDescriptor<Message, Message> method(String path) {
    String service = path.substring(0, path.indexOf('/'));
    ServiceDescriptor found =
        SERVICES.stream()
            .filter(one -> one.getName().equals(service))
            .findFirst()
            .orElseThrow(() -> new IllegalArgumentException("unknown service " + service));
    for (MethodDescriptor<?, ?> one : found.getMethods())
      if (one.getFullMethodName().equals(path)) return (MethodDescriptor<Message, Message>) one;
    return MethodDescriptor.<Message, Message>newBuilder()
        .setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName(path)
        .setRequestMarshaller(ProtoUtils.<Message>marshaller(Empty.getDefaultInstance()))
        .setResponseMarshaller(ProtoUtils.<Message>marshaller(Empty.getDefaultInstance()))
        .build();
  }

  private static Message prototype(MethodDescriptor.Marshaller<Message> marshaller) {
    return (Message) ((PrototypeMarshaller<?>) marshaller).getMessagePrototype();
  }
}
