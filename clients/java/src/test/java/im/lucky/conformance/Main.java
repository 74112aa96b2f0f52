package im.lucky.conformance;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;

/**
 * Runs the shared scenario and the shared vectors with the Java client. Environment: LUCKY_URL,
 * LUCKY_NETWORK_URL (control of the network), LUCKY_CONFORMANCE (folder).
 */
public final class Main {
  private interface Check {
    void run() throws Exception;
  }

  private static int passed;

  private Main() {}

  public static void main(String[] arguments) throws Exception {
    Play play = new Play(System.getenv("LUCKY_URL"), System.getenv("LUCKY_NETWORK_URL"));
    for (Map<String, Object> vector : read("vectors.yaml"))
      run("vector \"" + vector.get("title") + "\"", () -> Vectors.check(vector));
    for (Map<String, Object> step : read("scenario.yaml"))
      run("step \"" + step.get("title") + "\"", () -> play.step(step));
    if (passed == 0) fail("no step ran");
    play.end();
    System.out.println(passed + " passed, 0 failed");
    System.exit(0);
  }

  private static void run(String title, Check check) {
    try {
      check.run();
    } catch (Exception | AssertionError error) {
      fail(title + ": " + error);
    }
    passed++;
    System.out.println("ok " + passed + " " + title);
  }

  private static void fail(String text) {
    System.err.println(text);
    System.exit(1);
  }

  @SuppressWarnings("unchecked")
  private static List<Map<String, Object>> read(String name) throws IOException {
    Path path = Path.of(System.getenv("LUCKY_CONFORMANCE"), name);
    String text = Files.readString(path, StandardCharsets.UTF_8);
    Load load = new Load(LoadSettings.builder().build());
    return (List<Map<String, Object>>) load.loadFromString(text);
  }
}
