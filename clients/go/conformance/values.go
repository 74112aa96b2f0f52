package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

// values are the saved values of a play.
type values map[string]string

// fill replaces ${name} in all texts of a value of the scenario.
func (v values) fill(value any) (any, error) {
	switch value := value.(type) {
	case string:
		var missing error
		filled := reference.ReplaceAllStringFunc(value, func(found string) string {
			name := found[2 : len(found)-1]
			saved, ok := v[name]
			if !ok {
				missing = fmt.Errorf("no value %q was saved", name)
			}
			return saved
		})
		return filled, missing
	case []any:
		filled := []any{}
		for _, item := range value {
			one, err := v.fill(item)
			if err != nil {
				return nil, err
			}
			filled = append(filled, one)
		}
		return filled, nil
	case map[string]any:
		filled := map[string]any{}
		for key, item := range value {
			one, err := v.fill(item)
			if err != nil {
				return nil, err
			}
			filled[key] = one
		}
		return filled, nil
	default:
		return value, nil
	}
}

// save stores fields of an answer by their paths.
func (v values) save(step map[string]any, answer any) error {
	names, _ := step["save"].(map[string]any)
	for name, path := range names {
		at := answer
		for _, key := range strings.Split(path.(string), ".") {
			fields, _ := at.(map[string]any)
			at = fields[key]
		}
		text, ok := at.(string)
		if !ok {
			return fmt.Errorf("the answer has no %s to save", path)
		}
		v[name] = text
	}
	return nil
}

// match compares an answer with an expectation: "*" is any value but an absent one, null an absent
// one; an object may have more fields, a list has exactly as many items.
func match(path string, expected, actual any) error {
	switch expected := expected.(type) {
	case nil:
		if actual != nil {
			return fmt.Errorf("%s is %v, expected none", path, actual)
		}
	case map[string]any:
		fields, ok := actual.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, expected an object", path, actual)
		}
		for key, item := range expected {
			if err := match(path+"."+key, item, fields[key]); err != nil {
				return err
			}
		}
	case []any:
		items, ok := actual.([]any)
		if !ok || len(items) != len(expected) {
			return fmt.Errorf("%s is %v, expected %d items", path, actual, len(expected))
		}
		for at, item := range expected {
			if err := match(fmt.Sprintf("%s[%d]", path, at), item, items[at]); err != nil {
				return err
			}
		}
	case string:
		if expected == "*" && actual != nil {
			return nil
		}
		if actual != expected {
			return fmt.Errorf("%s is %v, expected %q", path, actual, expected)
		}
	default:
		if actual == nil || fmt.Sprint(expected) != fmt.Sprint(actual) {
			return fmt.Errorf("%s is %v, expected %v", path, actual, expected)
		}
	}
	return nil
}

// jsonOf is a message in JSON, as an object.
func jsonOf(message proto.Message) (map[string]any, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	return object, json.Unmarshal(text, &object)
}

func messageFrom(object any, message proto.Message) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, message)
}

func same(one, other any) bool {
	return reflect.DeepEqual(one, other)
}
