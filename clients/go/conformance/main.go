// Command conformance runs the shared scenario and the shared vectors with the Go client.
// Environment: LUCKY_URL, LUCKY_NETWORK_URL (control of the network), LUCKY_CONFORMANCE (folder).
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"go.yaml.in/yaml/v3"
)

func main() {
	passed, err := runAll(os.Getenv("LUCKY_CONFORMANCE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if passed == 0 {
		fmt.Fprintln(os.Stderr, "no step ran")
		os.Exit(1)
	}
	fmt.Printf("%d passed, 0 failed\n", passed)
}

func runAll(folder string) (int, error) {
	passed := 0
	done := func(title string) {
		passed++
		fmt.Println("ok", passed, title)
	}
	var vectors []vector
	if err := readYAML(folder, "vectors.yaml", &vectors); err != nil {
		return passed, err
	}
	for _, one := range vectors {
		if err := one.check(); err != nil {
			return passed, fmt.Errorf("vector %q: %w", one.Title, err)
		}
		done(one.Title)
	}
	var steps []map[string]any
	if err := readYAML(folder, "scenario.yaml", &steps); err != nil {
		return passed, err
	}
	play := newPlay(os.Getenv("LUCKY_URL"), os.Getenv("LUCKY_NETWORK_URL"))
	defer play.end()
	for _, one := range steps {
		if err := play.step(one); err != nil {
			return passed, fmt.Errorf("step %q: %w", one["title"], err)
		}
		done(fmt.Sprint(one["title"]))
	}
	return passed, nil
}

func readYAML(folder, name string, into any) error {
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}

// operations are the steps that this runner knows, with the keys that each may have.
var operations = map[string][]string{
	"call":    {"over", "as", "request", "request_hex", "timeout_ms", "times", "eventually", "expect", "error", "save"},
	"login":   {"user", "password", "class", "expect", "save"},
	"open":    {"expect"},
	"close":   {},
	"closed":  {"code"},
	"send":    {"to", "key", "content", "background", "times", "expect", "error", "save"},
	"result":  {"expect", "error", "save"},
	"receive": {"conversation", "entries", "texts", "times", "from"},
	"receipt": {"conversation", "user", "delivered", "read"},
	"read":    {"conversation", "sequence"},
	"network": {},
}

// operationOf finds the operation of a step; a step with an unknown key fails.
func operationOf(step map[string]any) (string, error) {
	found := ""
	for key := range step {
		if _, known := operations[key]; known && found == "" && !isArgument(step, key) {
			found = key
		}
	}
	if found == "" {
		return "", fmt.Errorf("unknown operation: %v", keysOf(step))
	}
	allowed := map[string]bool{"title": true, found: true}
	for _, key := range operations[found] {
		allowed[key] = true
	}
	for key := range step {
		if !allowed[key] {
			return "", fmt.Errorf("%s does not know %q", found, key)
		}
	}
	return found, nil
}

// isArgument reports whether the key is an argument of another operation in the step ("read" of receipt).
func isArgument(step map[string]any, key string) bool {
	_, receipt := step["receipt"]
	return key == "read" && receipt
}

func keysOf(step map[string]any) []string {
	keys := []string{}
	for key := range step {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
