package lucky

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	errorv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/error/v1"
	framev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/frame/v1"
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
	presencev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/presence/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// Revision of the protocol that this package is written for.
	revision    = 1
	openTimeout = 10 * time.Second
	// Largest frame that is read before Welcome names the server's limit.
	firstReadLimit = 4 << 20
	// Close codes from here to 4999 mean: do not reconnect by yourself.
	stayClosedFrom = 4500
	// Frames that wait for the rate limit, besides the sends in flight.
	queuedFrames = 256
	renewalRetry = 5 * time.Second
)

// Handlers get the events of a session. They run one at a time, and the session waits for them: a
// handler must not block, nor call the session except in a goroutine of its own. Nil ones are skipped.
type Handlers struct {
	// Message gets the next entry of a conversation: in order, once, without a gap. It does not get
	// what this session sent.
	Message func(*messagev1.Entry)
	// Conversation gets a conversation that is new or has changed while the device was away.
	Conversation func(*messagev1.Conversation)
	// Reset gets the id of a conversation whose epoch changed: discard its entries, all come again.
	Reset   func(conversationID int64)
	Receipt func(*messagev1.Receipt)
	Typing  func(*presencev1.Typing)
	Notice  func(*framev1.SecurityNotice)
	// Open is called with each Welcome.
	Open func(*framev1.Welcome)
	// Closed is called once, when the session has ended for good.
	Closed func(Closed)
}

// Closed says why a session ended for good.
type Closed struct {
	// Code is the close code of the WebSocket; 0 when the caller closed it, or when the login was over.
	Code int
	Kick *framev1.Kick
	Err  error
}

// SessionOptions are the options of Open.
type SessionOptions struct {
	Handlers
	// State continues an earlier session of the device; nil begins without one.
	State *State
	// AllHistory makes a device without a state fetch every entry of every conversation. Otherwise it
	// begins after the entries that the user's other devices have received.
	AllHistory bool
	// ClientName and ClientVersion are sent in Hello.
	ClientName, ClientVersion string
}

// Session keeps one WebSocket of one device open: it reconnects with back-off, catches up, orders and
// acknowledges entries, and repeats sends until they have a result. Safe for concurrent use.
type Session struct {
	client  *Client
	options SessionOptions
	ctx     context.Context
	stop    context.CancelCauseFunc
	ended   chan struct{}

	mu     sync.Mutex
	socket *websocket.Conn
	// writes are the frames for the writer of the current socket; nil when none is open.
	writes   chan outgoing
	welcome  *framev1.Welcome
	kick     *framev1.Kick
	attempts int
	// moveAt is the time at which the server wants this session to move; zero for none.
	moveAt   time.Time
	opened   chan struct{}
	calls    map[int64]chan *framev1.RpcResult
	lastCall int64
	sends    sends
	logs     logs
	cursors  cursors
}

// Open starts a session and waits for its first Welcome. The session outlives ctx: end it by Close.
func (c *Client) Open(ctx context.Context, options SessionOptions) (*Session, error) {
	s := &Session{
		client:  c,
		options: options,
		ended:   make(chan struct{}),
		opened:  make(chan struct{}),
		calls:   map[int64]chan *framev1.RpcResult{},
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.restore(options.State)
	go s.run()
	select {
	case <-s.opened:
		return s, nil
	case <-s.ended:
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		s.Close()
		return nil, ctx.Err()
	}
}

var errClosed = errors.New("lucky: the session was closed by its caller")

// Close ends the session. Sends without a result stay in its State.
func (s *Session) Close() {
	s.mu.Lock()
	s.flushCursors(true)
	s.mu.Unlock()
	s.stop(errClosed)
	<-s.ended
}

// Welcome returns the last Welcome of the server.
func (s *Session) Welcome() *framev1.Welcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.welcome
}

// Typing signals that the user types, or stopped. It may be lost.
func (s *Session) Typing(conversationID int64, typing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := &presencev1.SendTypingRequest{ConversationId: conversationID, Typing: typing}
	s.write(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Typing{Typing: request}})
}

// Call calls a unary method over the socket, such as "lucky.message.v1.MessageService/ListEntries",
// and decodes the answer into response.
func (s *Session) Call(ctx context.Context, method string, request, response proto.Message) error {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.lastCall++
	id, result := s.lastCall, make(chan *framev1.RpcResult, 1)
	s.calls[id] = result
	call := &framev1.Rpc{CallId: id, Method: method, Request: encoded}
	if !s.write(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Rpc{Rpc: call}}) {
		delete(s.calls, id)
		close(result)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.calls, id)
		s.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
	case answer, ok := <-result:
		if !ok {
			return unavailable("the session broke before the answer")
		}
		if failed := answer.GetError(); failed != nil {
			return errorFrom(connect.Code(failed.GetCode()), failed.GetText(), failed.GetError())
		}
		return proto.Unmarshal(answer.GetResponse(), response)
	}
}

func unavailable(text string) *Error {
	reason := errorv1.ErrorReason_ERROR_REASON_UNAVAILABLE
	return &Error{Code: connect.CodeUnavailable, Reason: reason, Text: text}
}

// run opens one socket after the other until the caller or the server ends the session.
func (s *Session) run() {
	var closed Closed
	for first := true; s.ctx.Err() == nil; first = false {
		if !first {
			s.pause(closed)
		}
		if closed = s.runSocket(); closed.Err != nil && ErrorOf(closed.Err).loginOver() {
			s.stop(closed.Err)
		} else if stays(closed) {
			s.stop(closedError(closed))
		} else if closed.Code == int(framev1.CloseCode_CLOSE_CODE_TOKEN_EXPIRED) {
			// A failure shows at the next attempt, when it looks for a token.
			_, _ = s.client.refresh(s.ctx, s.client.Tokens().GetAccessToken())
		}
	}
	s.mu.Lock()
	s.failSends(context.Cause(s.ctx))
	s.mu.Unlock()
	close(s.ended)
	if s.options.Closed != nil {
		s.options.Closed(closed)
	}
}

func stays(closed Closed) bool {
	switch closed.Kick.GetAction() {
	case framev1.ReconnectAction_RECONNECT_ACTION_RECONNECT:
		return false
	case framev1.ReconnectAction_RECONNECT_ACTION_STAY_CLOSED:
		return true
	default:
		return closed.Code >= stayClosedFrom && closed.Code < 5000
	}
}

func closedError(closed Closed) error {
	text := framev1.CloseCode(closed.Code).String() + " " + closed.Kick.GetText()
	return unavailable("the server closed the session: " + text)
}

// pause waits before the next attempt: full jitter below a ceiling that doubles up to 30 s.
func (s *Session) pause(last Closed) {
	s.mu.Lock()
	ceiling := min(30*time.Second, 500*time.Millisecond<<min(s.attempts, 10))
	wait := rand.N(ceiling) + time.Duration(last.Kick.GetRetryAfterMs())*time.Millisecond
	switch framev1.CloseCode(last.Code) {
	case framev1.CloseCode_CLOSE_CODE_RATE_LIMITED, framev1.CloseCode_CLOSE_CODE_UNAVAILABLE:
		wait = max(wait, time.Second)
	}
	if !s.moveAt.IsZero() {
		wait = time.Until(s.moveAt)
	}
	s.attempts++
	s.moveAt = time.Time{}
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-s.ctx.Done():
	}
}

// runSocket runs one socket, from the look-up of its address to its end.
func (s *Session) runSocket() Closed {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	limited, done := context.WithTimeout(ctx, openTimeout)
	defer done()
	token, err := s.client.access(limited)
	if err != nil {
		return Closed{Err: err}
	}
	socket, err := s.dial(limited)
	if err != nil {
		return Closed{Err: err}
	}
	defer socket.CloseNow()
	hello := &framev1.Hello{
		AccessToken:      token,
		ClientName:       s.options.ClientName,
		ClientVersion:    s.options.ClientVersion,
		ProtocolRevision: revision,
	}
	encoded, _ := proto.Marshal(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Hello{Hello: hello}})
	if err := socket.Write(limited, websocket.MessageBinary, encoded); err != nil {
		return Closed{Err: err}
	}
	s.mu.Lock()
	s.socket, s.kick = socket, nil
	s.mu.Unlock()
	heard := time.AfterFunc(openTimeout, cancel)
	defer heard.Stop()
	for {
		kind, data, err := socket.Read(ctx)
		if err != nil {
			if s.ctx.Err() != nil {
				_ = socket.Close(websocket.StatusNormalClosure, "")
			}
			return s.lost(err)
		}
		frame := &framev1.ServerFrame{}
		if kind != websocket.MessageBinary || proto.Unmarshal(data, frame) != nil {
			_ = socket.Close(websocket.StatusProtocolError, "")
			return s.lost(errors.New("lucky: a frame that cannot be read"))
		}
		s.mu.Lock()
		if welcome := frame.GetWelcome(); welcome != nil {
			s.enter(ctx, welcome)
		} else if s.writes != nil || frame.GetKick() != nil {
			s.receive(ctx, frame)
		}
		interval := time.Duration(s.welcome.GetHeartbeatIntervalMs()) * time.Millisecond
		s.mu.Unlock()
		heard.Reset(max(2*interval, openTimeout/10))
	}
}

func (s *Session) dial(ctx context.Context) (*websocket.Conn, error) {
	path := "/ws"
	request := connect.NewRequest(&framev1.ResolveEndpointRequest{})
	if answer, err := s.client.Endpoints.ResolveEndpoint(ctx, request); err == nil {
		path = answer.Msg.GetUrl()
	} else if ErrorOf(err).loginOver() {
		return nil, err
	}
	if strings.HasPrefix(path, "/") {
		path = s.client.url + path
	}
	options := &websocket.DialOptions{Subprotocols: []string{"lucky.v1"}, HTTPClient: &http.Client{}}
	socket, _, err := websocket.Dial(ctx, path, options)
	if err == nil {
		socket.SetReadLimit(firstReadLimit)
	}
	return socket, err
}

// enter takes Welcome: the session is open.
func (s *Session) enter(ctx context.Context, welcome *framev1.Welcome) {
	first := s.welcome == nil
	s.welcome = welcome
	s.attempts = 0
	s.writes = make(chan outgoing, queuedFrames+max(0, welcome.GetLimits().GetMaxSendsInFlight()))
	s.client.serverTime(welcome.GetServerTimeMs())
	if limit := welcome.GetLimits().GetMaxServerFrameBytes(); limit > 0 {
		s.socket.SetReadLimit(int64(limit))
	}
	go s.writeFrames(ctx, s.socket, s.writes, welcome)
	if first {
		close(s.opened)
	}
	if s.options.Open != nil {
		s.options.Open(welcome)
	}
	s.dispatch()
	s.repeatCursors()
	s.requestSync()
}

// writeFrames is the only writer of a socket: it throttles the frames, and sends the heartbeats.
func (s *Session) writeFrames(ctx context.Context, socket *websocket.Conn, frames <-chan outgoing, welcome *framev1.Welcome) {
	interval := time.Duration(welcome.GetHeartbeatIntervalMs()) * time.Millisecond
	beat, _ := proto.Marshal(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Heartbeat{Heartbeat: &framev1.Heartbeat{}}})
	limiter := frameLimiter(welcome.GetLimits())
	for {
		frame := outgoing{beat, 1}
		select {
		case <-ctx.Done():
			return
		case frame = <-frames:
		case <-time.After(max(interval/2, 100*time.Millisecond)):
		}
		if limiter.WaitN(ctx, min(frame.weight, limiter.Burst())) != nil {
			return
		}
		if socket.Write(ctx, websocket.MessageBinary, frame.data) != nil {
			return // The reader sees the end of the socket.
		}
	}
}

// write queues a frame; false when no session is open. A full queue means that the socket is stuck:
// the socket ends, and what has no answer is repeated on the next one.
func (s *Session) write(frame *framev1.ClientFrame) bool {
	encoded, err := proto.Marshal(frame)
	if err != nil || s.writes == nil {
		return false
	}
	select {
	case s.writes <- outgoing{encoded, frameWeight(frame, len(encoded))}:
		return true
	default:
		go s.socket.CloseNow()
		return false
	}
}

// lost ends the state of one socket and says how it was closed.
func (s *Session) lost(err error) Closed {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := Closed{Code: int(websocket.CloseStatus(err)), Kick: s.kick, Err: err}
	if closed.Code < 0 {
		closed.Code = int(s.kick.GetCode())
	}
	if closed.Code > 0 {
		closed.Err = nil
	}
	s.socket, s.writes = nil, nil
	for id, result := range s.calls {
		delete(s.calls, id)
		close(result)
	}
	for _, send := range s.sends.pending {
		send.inFlight = false
	}
	return closed
}

func (s *Session) receive(ctx context.Context, frame *framev1.ServerFrame) {
	switch kind := frame.GetKind().(type) {
	case *framev1.ServerFrame_Deliver:
		s.deliver(kind.Deliver.GetEntries())
	case *framev1.ServerFrame_SendResults:
		for _, result := range kind.SendResults.GetResults() {
			s.settle(result)
		}
	case *framev1.ServerFrame_SyncRequired:
		s.syncRequired(kind.SyncRequired)
	case *framev1.ServerFrame_RpcResult:
		if result, ok := s.calls[kind.RpcResult.GetCallId()]; ok {
			delete(s.calls, kind.RpcResult.GetCallId())
			result <- kind.RpcResult
		}
	case *framev1.ServerFrame_Receipt:
		handle(s.options.Receipt, kind.Receipt)
	case *framev1.ServerFrame_Typing:
		handle(s.options.Handlers.Typing, kind.Typing)
	case *framev1.ServerFrame_SecurityNotice:
		handle(s.options.Notice, kind.SecurityNotice)
	case *framev1.ServerFrame_Kick:
		s.kick = kind.Kick
	case *framev1.ServerFrame_Move:
		after := time.Duration(kind.Move.GetAfterMs()) * time.Millisecond
		s.moveAt = time.Now().Add(after)
		socket := s.socket
		time.AfterFunc(after, func() { _ = socket.Close(websocket.StatusNormalClosure, "") })
	case *framev1.ServerFrame_TokenExpiring:
		go s.renew(ctx, s.client.Tokens().GetAccessToken())
	}
	// Other kinds are those of later servers.
}

func handle[T any](handler func(T), value T) {
	if handler != nil {
		handler(value)
	}
}

// renew continues the session with a fresh access token.
func (s *Session) renew(ctx context.Context, used string) {
	for ctx.Err() == nil {
		token, err := s.client.refresh(ctx, used)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.write(&framev1.ClientFrame{Kind: &framev1.ClientFrame_Renew{Renew: &framev1.Renew{AccessToken: token}}})
			return
		}
		if ErrorOf(err).loginOver() {
			s.stop(err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(renewalRetry):
		}
	}
}
