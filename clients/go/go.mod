module github.com/lucky-im/lucky/clients/go

go 1.26.0

require (
	connectrpc.com/connect v1.21.1
	github.com/coder/websocket v1.8.15
	github.com/google/uuid v1.6.0
	golang.org/x/time v0.16.0
	google.golang.org/protobuf v1.36.12
)
