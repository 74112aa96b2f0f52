package main

import (
	"testing"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The registry of Go panics at start when two packages register one file.
func TestAProgramMayImportTheStandardPackagesToo(t *testing.T) {
	for _, path := range []string{
		"buf/validate/validate.proto",
		"grpc/health/v1/health.proto",
		"lucky/frame/v1/frame.proto",
	} {
		if _, err := protoregistry.GlobalFiles.FindFileByPath(path); err != nil {
			t.Errorf("%s is not registered: %v", path, err)
		}
	}
	for _, path := range []string{"lucky/options/v1/options.proto", "lucky/internal/link/v1/link.proto"} {
		if _, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil {
			t.Errorf("%s belongs to the server, and the client registers it", path)
		}
	}
}
