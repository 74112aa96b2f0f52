// Package lucky is a client of the Lucky instant-messaging server: calls of its services, and a
// session over WebSocket that sends, receives and catches up.
package lucky

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	authv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1/authv1connect"
	errorv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/error/v1"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1/framev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/group/v1/groupv1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1/messagev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/presence/v1/presencev1connect"
	"github.com/lucky-im/lucky/clients/go/gen/lucky/user/v1/userv1connect"
)

const (
	callTimeout = 10 * time.Second
	// The server accepts a retry with the same refresh token only within 10 s after the exchange.
	refreshTimeout = 3 * time.Second
	// Access tokens are exchanged this long before they expire.
	refreshAhead = 30 * time.Second
)

// Client calls the services of one server as one device. Calls carry its access token, which is
// refreshed as needed. Safe for concurrent use.
type Client struct {
	Auth          authv1connect.AuthServiceClient
	Devices       authv1connect.DeviceServiceClient
	Users         userv1connect.UserServiceClient
	Messages      messagev1connect.MessageServiceClient
	Conversations messagev1connect.ConversationServiceClient
	Groups        groupv1connect.GroupServiceClient
	Presence      presencev1connect.PresenceServiceClient
	Endpoints     framev1connect.EndpointServiceClient

	url       string
	anonymous authv1connect.AuthServiceClient

	mu sync.Mutex
	// tokens of the login; nil before the first one.
	tokens *authv1.Tokens
	// skew is the server's clock minus the local one.
	skew time.Duration
	// refreshing serialises exchanges: a refresh token works once.
	refreshing sync.Mutex
}

// NewClient creates a client of the server at an address such as "https://chat.example.org". Options
// select the protocol: Connect without any, gRPC with connect.WithGRPC().
func NewClient(url string, options ...connect.ClientOption) *Client {
	url = strings.TrimSuffix(url, "/")
	c := &Client{url: url}
	httpClient := HTTPClient(url)
	c.anonymous = authv1connect.NewAuthServiceClient(httpClient, url, options...)
	all := append([]connect.ClientOption{connect.WithInterceptors(c.withToken())}, options...)
	c.Auth = authv1connect.NewAuthServiceClient(httpClient, url, all...)
	c.Devices = authv1connect.NewDeviceServiceClient(httpClient, url, all...)
	c.Users = userv1connect.NewUserServiceClient(httpClient, url, all...)
	c.Messages = messagev1connect.NewMessageServiceClient(httpClient, url, all...)
	c.Conversations = messagev1connect.NewConversationServiceClient(httpClient, url, all...)
	c.Groups = groupv1connect.NewGroupServiceClient(httpClient, url, all...)
	c.Presence = presencev1connect.NewPresenceServiceClient(httpClient, url, all...)
	c.Endpoints = framev1connect.NewEndpointServiceClient(httpClient, url, all...)
	return c
}

// HTTPClient creates a client that reaches the address by HTTP/2, without TLS for http://.
func HTTPClient(url string) *http.Client {
	protocols := new(http.Protocols)
	if strings.HasPrefix(url, "http://") {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
		protocols.SetHTTP2(true)
	}
	return &http.Client{Transport: &http.Transport{Protocols: protocols, Proxy: http.ProxyFromEnvironment}}
}

// Register creates an account and does not log in. The key makes a retry harmless: random, chosen
// once per account; empty for none.
func (c *Client) Register(ctx context.Context, userName, password, key string) (*authv1.RegisterResponse, error) {
	var answer *authv1.RegisterResponse
	err := c.sealed(ctx, password, func(sealed *authv1.EncryptedPassword) error {
		request := &authv1.RegisterRequest{UserName: userName, Password: sealed, ClientRegistrationId: key}
		response, err := c.anonymous.Register(ctx, connect.NewRequest(request))
		if err == nil {
			answer = response.Msg
		}
		return err
	})
	return answer, err
}

// Login logs the device in and keeps its tokens.
func (c *Client) Login(ctx context.Context, userName, password string, device *authv1.Device) (*authv1.LoginResponse, error) {
	var answer *authv1.LoginResponse
	err := c.sealed(ctx, password, func(sealed *authv1.EncryptedPassword) error {
		request := &authv1.LoginRequest{UserName: userName, Password: sealed, Device: device}
		response, err := c.anonymous.Login(ctx, connect.NewRequest(request))
		if err == nil {
			answer = response.Msg
			c.SetTokens(answer.GetTokens())
		}
		return err
	})
	return answer, err
}

// sealed calls with the password encrypted, and retries once when the server's key was just rotated.
func (c *Client) sealed(ctx context.Context, password string, call func(*authv1.EncryptedPassword) error) error {
	attempt := func() error {
		key, err := c.anonymous.GetPublicKey(ctx, connect.NewRequest(&authv1.GetPublicKeyRequest{}))
		if err != nil {
			return err
		}
		c.serverTime(key.Msg.GetServerTimeMs())
		sealed, err := SealPassword(key.Msg, password)
		if err != nil {
			return err
		}
		return call(sealed)
	}
	err := attempt()
	if err != nil && ErrorOf(err).Reason == errorv1.ErrorReason_ERROR_REASON_ENCRYPTION_INVALID {
		err = attempt()
	}
	return err
}

// Tokens returns the current tokens, to store them; nil when nobody is logged in.
func (c *Client) Tokens() *authv1.Tokens {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens
}

// SetTokens continues an earlier login.
func (c *Client) SetTokens(tokens *authv1.Tokens) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = tokens
}

func (c *Client) serverTime(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew = time.Until(time.UnixMilli(ms))
}

// access returns an access token that does not expire soon.
func (c *Client) access(ctx context.Context) (string, error) {
	c.mu.Lock()
	tokens, now := c.tokens, time.Now().Add(c.skew)
	c.mu.Unlock()
	if tokens == nil {
		return "", &Error{
			Code:   connect.CodeUnauthenticated,
			Reason: errorv1.ErrorReason_ERROR_REASON_TOKEN_INVALID,
			Text:   "not logged in",
		}
	}
	if now.Add(refreshAhead).Before(time.UnixMilli(tokens.GetAccessTokenExpiresAtMs())) {
		return tokens.GetAccessToken(), nil
	}
	return c.refresh(ctx, tokens.GetAccessToken())
}

// refresh exchanges the refresh token unless the used access token was replaced meanwhile.
func (c *Client) refresh(ctx context.Context, used string) (string, error) {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	tokens := c.Tokens()
	if tokens.GetAccessToken() != used {
		return tokens.GetAccessToken(), nil
	}
	var err error
	for range 2 { // A lost answer: the same token works once more within ten seconds.
		var response *connect.Response[authv1.RefreshResponse]
		limited, cancel := context.WithTimeout(ctx, refreshTimeout)
		request := &authv1.RefreshRequest{RefreshToken: tokens.GetRefreshToken()}
		response, err = c.anonymous.Refresh(limited, connect.NewRequest(request))
		cancel()
		if err == nil {
			c.SetTokens(response.Msg.GetTokens())
			return response.Msg.GetTokens().GetAccessToken(), nil
		}
		if ErrorOf(err).Reason != errorv1.ErrorReason_ERROR_REASON_UNAVAILABLE {
			break
		}
	}
	return "", err
}

func (c *Client) withToken() connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			if _, limited := ctx.Deadline(); !limited {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, callTimeout)
				defer cancel()
			}
			token, err := c.access(ctx)
			if err != nil {
				return nil, err
			}
			request.Header().Set("Authorization", "Bearer "+token)
			response, err := next(ctx, request)
			if err == nil || ErrorOf(err).Reason != errorv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED {
				return response, err
			}
			if token, err = c.refresh(ctx, token); err != nil {
				return nil, err
			}
			request.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, request)
		}
	}
}
