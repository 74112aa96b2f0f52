package im.lucky.conformance;

import com.google.gson.Gson;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Values of the scenario: references, expectations, messages in JSON. */
final class Values {
  private static final Gson GSON = new Gson();
  private static final Pattern REFERENCE = Pattern.compile("\\$\\{([^}]+)\\}");

  private Values() {}

  /** Replaces ${name} in all texts of a value. */
  static Object fill(Object value, Map<String, String> saved) {
    if (value instanceof String text) {
      Matcher references = REFERENCE.matcher(text);
      return references.replaceAll(
          found -> {
            String known = saved.get(found.group(1));
            if (known == null)
              throw new IllegalArgumentException("no value " + found.group(1) + " was saved");
            return Matcher.quoteReplacement(known);
          });
    }
    if (value instanceof List<?> list)
      return list.stream().map(item -> fill(item, saved)).toList();
    if (value instanceof Map<?, ?> map) {
      Map<String, Object> filled = new LinkedHashMap<>();
      map.forEach((key, item) -> filled.put(String.valueOf(key), fill(item, saved)));
      return filled;
    }
    return value;
  }

  /** Stores fields of an answer by their paths. */
  static void save(Map<String, Object> step, Object answer, Map<String, String> saved) {
    for (Map.Entry<String, Object> one : map(step.get("save")).entrySet()) {
      Object at = answer;
      for (String key : String.valueOf(one.getValue()).split("\\.")) at = map(at).get(key);
      if (!(at instanceof String text))
        throw new AssertionError("the answer has no " + one.getValue() + " to save");
      saved.put(one.getKey(), text);
    }
  }

  /**
   * Compares: "*" is any value but an absent one, null an absent one; an object may have more fields,
   * a list has exactly as many items.
   */
  static void match(String path, Object expected, Object actual) {
    boolean fits;
    if (expected == null) fits = actual == null;
    else if (expected instanceof Map<?, ?> fields) {
      fits = actual instanceof Map;
      if (fits) fields.forEach((key, item) -> match(path + "." + key, item, map(actual).get(key)));
    } else if (expected instanceof List<?> items) {
      fits = actual instanceof List<?> list && list.size() == items.size();
      for (int at = 0; fits && at < items.size(); at++)
        match(path + "[" + at + "]", items.get(at), ((List<?>) actual).get(at));
    } else if (expected.equals("*")) fits = actual != null;
    else if (expected instanceof Number number)
      fits = actual instanceof Number other && number.doubleValue() == other.doubleValue();
    else fits = expected.equals(actual);
    if (!fits) throw new AssertionError(path + " is " + actual + ", expected " + expected);
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> map(Object value) {
    return value instanceof Map ? (Map<String, Object>) value : Map.of();
  }

  static List<String> texts(Object value) {
    if (value instanceof List<?> list) return list.stream().map(String::valueOf).toList();
    return List.of(String.valueOf(value));
  }

  static long number(Object value, long otherwise) {
    return value instanceof Number number ? number.longValue() : otherwise;
  }

  static Map<String, Object> json(MessageOrBuilder message) throws InvalidProtocolBufferException {
    return parse(JsonFormat.printer().print(message));
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> parse(String json) {
    return GSON.fromJson(json, HashMap.class);
  }

  static Message message(Object json, Message prototype) throws InvalidProtocolBufferException {
    Message.Builder builder = prototype.newBuilderForType();
    JsonFormat.parser().merge(GSON.toJson(json), builder);
    return builder.build();
  }
}
