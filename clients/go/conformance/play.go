package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	lucky "github.com/lucky-im/lucky/clients/go"
	authv1 "github.com/lucky-im/lucky/clients/go/gen/lucky/auth/v1"
	messagev1 "github.com/lucky-im/lucky/clients/go/gen/lucky/message/v1"
)

// timeout of a wait for an event.
const timeout = 60 * time.Second

// play is one run of the scenario.
type play struct {
	url, networkURL string
	values          values
	devices         map[string]*device
	background      map[string]chan result
}

type result struct {
	answer any
	err    error
}

// device is a client with its session and what the session told.
type device struct {
	client  *lucky.Client
	session *lucky.Session
	state   *lucky.State

	mu       sync.Mutex
	changed  *sync.Cond
	entries  map[string][]*messagev1.Entry
	receipts []*messagev1.Receipt
	closed   *lucky.Closed
}

func newPlay(url, networkURL string) *play {
	run := make([]byte, 4)
	_, _ = rand.Read(run)
	return &play{
		url:        url,
		networkURL: networkURL,
		values:     values{"run": hex.EncodeToString(run)},
		devices:    map[string]*device{},
		background: map[string]chan result{},
	}
}

func (p *play) end() {
	for _, one := range p.devices {
		if one.session != nil {
			one.session.Close()
		}
	}
}

func (p *play) step(step map[string]any) error {
	operation, err := operationOf(step)
	if err != nil {
		return err
	}
	switch operation {
	case "call":
		return p.call(step)
	case "login":
		return p.login(step)
	case "send":
		return p.send(step)
	case "result":
		return p.answered(step, <-p.background[text(step["result"])])
	case "network":
		return p.network(text(step["network"]))
	}
	filled, err := p.values.fill(step)
	if err != nil {
		return err
	}
	arguments := filled.(map[string]any)
	for _, name := range texts(arguments[operation]) {
		one, ok := p.devices[name]
		if !ok {
			return fmt.Errorf("no device %q logged in", name)
		}
		switch operation {
		case "open":
			err = p.open(one, arguments)
		case "close":
			one.session.Close()
			one.state, one.session = one.session.State(), nil
		case "closed":
			err = one.wait(func() error { return one.hasClosed(number(arguments["code"])) })
		case "receive":
			err = p.receive(one, step, arguments)
		case "receipt":
			err = one.wait(func() error { return one.hasReceipt(arguments) })
		case "read":
			id, _ := strconv.ParseInt(text(arguments["conversation"]), 10, 64)
			one.session.MarkRead(id, int64(number(arguments["sequence"])))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (p *play) login(step map[string]any) error {
	name := text(step["login"])
	user, err := p.values.fill(step["user"])
	if err != nil {
		return err
	}
	one := &device{client: lucky.NewClient(p.url), entries: map[string][]*messagev1.Entry{}}
	one.changed = sync.NewCond(&one.mu)
	about := &authv1.Device{
		DeviceId:    name + "-" + p.values["run"],
		DeviceClass: authv1.DeviceClass(authv1.DeviceClass_value[text(step["class"])]),
	}
	answer, err := one.client.Login(context.Background(), text(user), text(step["password"]), about)
	if err != nil {
		return err
	}
	p.devices[name] = one
	p.values[name+".device_id"] = about.DeviceId
	p.values[name+".refresh_token"] = answer.GetTokens().GetRefreshToken()
	object, err := jsonOf(answer)
	return p.answered(step, result{object, err})
}

func (p *play) open(one *device, step map[string]any) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	session, err := one.client.Open(ctx, lucky.SessionOptions{
		State: one.state,
		Handlers: lucky.Handlers{
			Message: func(entry *messagev1.Entry) {
				one.change(func() {
					id := strconv.FormatInt(entry.GetConversationId(), 10)
					one.entries[id] = append(one.entries[id], entry)
				})
			},
			Receipt: func(receipt *messagev1.Receipt) {
				one.change(func() { one.receipts = append(one.receipts, receipt) })
			},
			Closed: func(closed lucky.Closed) { one.change(func() { one.closed = &closed }) },
		},
	})
	if err != nil {
		return err
	}
	one.session, one.closed = session, nil
	welcome, err := jsonOf(session.Welcome())
	return p.answered(step, result{welcome, err})
}

func (p *play) send(step map[string]any) error {
	session := p.devices[text(step["send"])].session
	answers := []chan result{}
	for n := 1; n <= max(1, number(step["times"])); n++ {
		p.values["n"] = strconv.Itoa(n)
		filled, err := p.values.fill(step)
		if err != nil {
			return err
		}
		answer, err := sendOne(session, filled.(map[string]any))
		if err != nil {
			return err
		}
		answers = append(answers, answer)
	}
	if name, ok := step["background"]; ok {
		p.background[text(name)] = answers[0]
		return nil
	}
	for _, answer := range answers {
		if err := p.answered(step, <-answer); err != nil {
			return err
		}
	}
	return nil
}

func sendOne(session *lucky.Session, arguments map[string]any) (chan result, error) {
	target, content := &messagev1.SendRequest{}, &messagev1.Content{}
	if err := errors.Join(messageFrom(arguments["to"], target), messageFrom(arguments["content"], content)); err != nil {
		return nil, err
	}
	target.ClientMessageId = text(arguments["key"])
	answer := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		accepted, err := session.Send(ctx, target, content)
		if err != nil {
			answer <- result{nil, err}
			return
		}
		object, err := jsonOf(accepted)
		answer <- result{object, err}
	}()
	return answer, nil
}

// receive takes the next entries of a conversation on a device and compares them.
func (p *play) receive(one *device, step, arguments map[string]any) error {
	expected, _ := arguments["entries"].([]any)
	for n := 1; n <= number(step["times"]); n++ {
		filled, err := values{"n": strconv.Itoa(n)}.fill(step["texts"])
		if err != nil {
			return err
		}
		content := map[string]any{"text": map[string]any{"text": filled}}
		sequence := strconv.Itoa(number(step["from"]) + n - 1)
		expected = append(expected, map[string]any{"sequence": sequence, "content": content})
	}
	if len(expected) == 0 {
		return errors.New("nothing is expected")
	}
	id := text(arguments["conversation"])
	for at, want := range expected {
		var next *messagev1.Entry
		err := one.wait(func() error {
			if len(one.entries[id]) == 0 {
				return fmt.Errorf("received %d entries, expected %d", at, len(expected))
			}
			next, one.entries[id] = one.entries[id][0], one.entries[id][1:]
			return nil
		})
		if err != nil {
			return err
		}
		object, err := jsonOf(next)
		if err != nil {
			return err
		}
		if err := match(fmt.Sprintf("entry %d", at+1), want, any(object)); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) network(mode string) error {
	response, err := http.Post(p.networkURL+"/"+mode, "text/plain", http.NoBody)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the network does not know %q", mode)
	}
	return nil
}

func (d *device) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.changed.Broadcast()
}

// wait waits until a check of the device's events passes.
func (d *device) wait(check func() error) error {
	expired := false
	timer := time.AfterFunc(timeout, func() { d.change(func() { expired = true }) })
	defer timer.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		err := check()
		if err == nil || expired {
			return err
		}
		d.changed.Wait()
	}
}

func (d *device) hasClosed(code int) error {
	if d.closed == nil {
		return errors.New("the session is open")
	}
	if d.closed.Code != code {
		return fmt.Errorf("closed with %d, expected %d", d.closed.Code, code)
	}
	return nil
}

func (d *device) hasReceipt(step map[string]any) error {
	for _, receipt := range d.receipts {
		if strconv.FormatInt(receipt.GetConversationId(), 10) == text(step["conversation"]) &&
			strconv.FormatInt(receipt.GetUserId(), 10) == text(step["user"]) &&
			receipt.GetDeliveredSequence() >= int64(number(step["delivered"])) &&
			receipt.GetReadSequence() >= int64(number(step["read"])) {
			return nil
		}
	}
	return fmt.Errorf("no such receipt among %d", len(d.receipts))
}

func text(value any) string {
	found, _ := value.(string)
	return found
}

func texts(value any) []string {
	list, ok := value.([]any)
	if !ok {
		return []string{text(value)}
	}
	found := []string{}
	for _, item := range list {
		found = append(found, text(item))
	}
	return found
}

func number(value any) int {
	found, _ := value.(int)
	return found
}
