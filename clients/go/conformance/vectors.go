package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// vector is a message in bytes and in JSON.
type vector struct {
	Title   string         `yaml:"title"`
	Message string         `yaml:"message"`
	Hex     string         `yaml:"hex"`
	JSON    map[string]any `yaml:"json"`
	// DecodeOnly marks bytes that an encoder would write in another way.
	DecodeOnly bool `yaml:"decode_only"`
}

func (v vector) check() error {
	bytes, err := bytesOf(v.Hex)
	if err != nil {
		return err
	}
	decoded, err := newMessage(v.Message)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(bytes, decoded); err != nil {
		return err
	}
	encoded, err := newMessage(v.Message)
	if err != nil {
		return err
	}
	if err := messageFrom(v.JSON, encoded); err != nil {
		return err
	}
	one, err := jsonOf(decoded)
	if err != nil {
		return err
	}
	other, err := jsonOf(encoded)
	if err != nil {
		return err
	}
	if !same(one, other) {
		return fmt.Errorf("the bytes decode to %s", protojson.Format(decoded))
	}
	if v.DecodeOnly {
		return nil
	}
	// Go writes the members of a oneof after all other fields: the same bytes in another order.
	written, err := proto.Marshal(encoded)
	if err != nil {
		return err
	}
	reread, err := newMessage(v.Message)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(written, reread); err != nil {
		return err
	}
	if len(written) != len(bytes) || !proto.Equal(reread, decoded) {
		return fmt.Errorf("the JSON encodes to %x, expected %x in any order of fields", written, bytes)
	}
	return nil
}

func newMessage(name string) (proto.Message, error) {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil, err
	}
	return found.New().Interface(), nil
}

func bytesOf(text string) ([]byte, error) {
	return hex.DecodeString(strings.Join(strings.Fields(text), ""))
}
