package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	lucky "github.com/lucky-im/lucky/clients/go"
	authv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1/authv1connect"
	errorv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/error/v1"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1/framev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/group/v1/groupv1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1/messagev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/presence/v1/presencev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/user/v1/userv1connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// services are the constructors of the generated clients. A new service is one line.
var services = map[string]any{
	"lucky.auth.v1.AuthService":            authv1connect.NewAuthServiceClient,
	"lucky.auth.v1.DeviceService":          authv1connect.NewDeviceServiceClient,
	"lucky.user.v1.UserService":            userv1connect.NewUserServiceClient,
	"lucky.message.v1.MessageService":      messagev1connect.NewMessageServiceClient,
	"lucky.message.v1.ConversationService": messagev1connect.NewConversationServiceClient,
	"lucky.group.v1.GroupService":          groupv1connect.NewGroupServiceClient,
	"lucky.presence.v1.PresenceService":    presencev1connect.NewPresenceServiceClient,
	"lucky.frame.v1.EndpointService":       framev1connect.NewEndpointServiceClient,
}

func (p *play) call(step map[string]any) error {
	for n := 1; n <= max(1, number(step["times"])); n++ {
		p.values["n"] = strconv.Itoa(n)
		filled, err := p.values.fill(step)
		if err != nil {
			return err
		}
		for _, over := range texts(step["over"]) {
			if err := p.callOver(over, filled.(map[string]any)); err != nil {
				return fmt.Errorf("over %s: %w", over, err)
			}
		}
	}
	return nil
}

func (p *play) callOver(over string, step map[string]any) error {
	until := time.Now().Add(timeout)
	for {
		answer, err := p.callOnce(over, step)
		checked := p.answered(step, result{answer, err})
		if eventually, _ := step["eventually"].(bool); checked == nil || !eventually || time.Now().After(until) {
			return checked
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *play) callOnce(over string, step map[string]any) (any, error) {
	request, err := p.sealed(step["request"])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if ms := number(step["timeout_ms"]); ms > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	method := text(step["call"])
	invoke, input, output, err := p.methodOf(method, over, text(step["as"]))
	if err != nil {
		return nil, err
	}
	if encoded, ok := step["request_hex"]; ok {
		bytes, err := bytesOf(text(encoded))
		if err != nil {
			return nil, err
		}
		err = proto.Unmarshal(bytes, input)
		if err != nil {
			return nil, err
		}
	} else if err := messageFrom(request, input); err != nil {
		return nil, err
	}
	if over == "socket" {
		err = p.devices[text(step["as"])].session.Call(ctx, method, input, output)
	} else {
		output, err = invoke(ctx, input)
	}
	if err != nil {
		return nil, err
	}
	return jsonOf(output)
}

type invoke func(context.Context, proto.Message) (proto.Message, error)

// methodOf finds a method of the generated clients, with its empty request and response. A method that
// the contract does not have gets an empty message.
func (p *play) methodOf(method, over, as string) (invoke, proto.Message, proto.Message, error) {
	options := []connect.ClientOption{}
	switch over {
	case "grpc":
		options = append(options, connect.WithGRPC())
	case "connect":
		options = append(options, connect.WithProtoJSON())
	case "socket":
	default:
		return nil, nil, nil, fmt.Errorf("unknown transport %q", over)
	}
	if one, ok := p.devices[as]; ok {
		options = append(options, connect.WithInterceptors(bearer(one.client.Tokens().GetAccessToken())))
	}
	service, name, _ := strings.Cut(method, "/")
	create, ok := services[service]
	if !ok {
		return nil, nil, nil, fmt.Errorf("unknown service %q", service)
	}
	arguments := []reflect.Value{reflect.ValueOf(lucky.HTTPClient(p.url)), reflect.ValueOf(p.url)}
	for _, option := range options {
		arguments = append(arguments, reflect.ValueOf(option))
	}
	found := reflect.ValueOf(create).Call(arguments)[0].MethodByName(name)
	if !found.IsValid() {
		client := connect.NewClient[emptypb.Empty, emptypb.Empty](lucky.HTTPClient(p.url), p.url+"/"+method, options...)
		return func(ctx context.Context, _ proto.Message) (proto.Message, error) {
			response, err := client.CallUnary(ctx, connect.NewRequest(&emptypb.Empty{}))
			if err != nil {
				return nil, err
			}
			return response.Msg, nil
		}, &emptypb.Empty{}, &emptypb.Empty{}, nil
	}
	// func(context.Context, *connect.Request[I]) (*connect.Response[O], error)
	request := reflect.New(found.Type().In(1).Elem())
	input := reflect.New(request.Elem().FieldByName("Msg").Type().Elem())
	field, _ := found.Type().Out(0).Elem().FieldByName("Msg")
	output := reflect.New(field.Type.Elem())
	request.Elem().FieldByName("Msg").Set(input)
	call := func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		answers := found.Call([]reflect.Value{reflect.ValueOf(ctx), request})
		if err, _ := answers[1].Interface().(error); err != nil {
			return nil, err
		}
		return answers[0].Elem().FieldByName("Msg").Interface().(proto.Message), nil
	}
	return call, input.Interface().(proto.Message), output.Interface().(proto.Message), nil
}

func bearer(token string) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			request.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, request)
		}
	}
}

// sealed replaces each {$password: text} by an EncryptedPassword.
func (p *play) sealed(value any) (any, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return value, nil
	}
	if password, ok := object["$password"]; ok {
		auth := authv1connect.NewAuthServiceClient(lucky.HTTPClient(p.url), p.url)
		key, err := auth.GetPublicKey(context.Background(), connect.NewRequest(&authv1.GetPublicKeyRequest{}))
		if err != nil {
			return nil, err
		}
		encrypted, err := lucky.SealPassword(key.Msg, text(password))
		if err != nil {
			return nil, err
		}
		return jsonOf(encrypted)
	}
	replaced := map[string]any{}
	for key, item := range object {
		one, err := p.sealed(item)
		if err != nil {
			return nil, err
		}
		replaced[key] = one
	}
	return replaced, nil
}

// answered compares an answer or an error with what the step expects, and saves values of the answer.
func (p *play) answered(step map[string]any, got result) error {
	filled, err := p.values.fill(map[string]any{"expect": step["expect"], "error": step["error"]})
	if err != nil {
		return err
	}
	wanted := filled.(map[string]any)
	if expected, ok := wanted["error"].(map[string]any); ok {
		return matchError(expected, got.err)
	}
	if got.err != nil {
		return got.err
	}
	if wanted["expect"] != nil {
		if err := match("answer", wanted["expect"], got.answer); err != nil {
			return err
		}
	}
	return p.values.save(step, got.answer)
}

func matchError(expected map[string]any, err error) error {
	if err == nil {
		return errors.New("it succeeded, expected an error")
	}
	failed := lucky.ErrorOf(err)
	actual := map[string]any{"code": failed.Code.String(), "field": failed.Field}
	actual["reason"] = strings.TrimPrefix(errorv1.ErrorReason_name[int32(failed.Reason)], "ERROR_REASON_")
	if mismatch := match("error", expected, any(actual)); mismatch != nil {
		return fmt.Errorf("%w (%w)", mismatch, err)
	}
	return nil
}
