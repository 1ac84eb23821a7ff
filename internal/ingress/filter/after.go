package filter

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"minato/internal/ingress/exchange"
)

// afterConfig describes an after.
type afterConfig struct {
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Random decides about canaries and endpoints, and makes session keys and trace IDs; nil is math/rand/v2. None of them is
	// a secret.
	Random func() uint64
	// Mirror sends copies of requests; nil is a client that, as nginx does, verifies no certificate, and that sends nothing to
	// the machine itself. It must not follow redirects.
	Mirror *http.Client
	// MirrorQueue is how many copies may wait, MirrorWorkers how many may be under way, MirrorBody how large a copied body may
	// be in bytes, and MirrorMemory how much all copies that wait or are under way may hold. Zeros are 1024, 64, 1 MiB and 64 MiB.
	MirrorQueue, MirrorWorkers int
	MirrorBody, MirrorMemory   int64
	// Compressions is how many answers may be compressed at a time at the level that the settings say: one takes about a
	// megabyte. Others are compressed less, without memory of their own. 0 is 128.
	Compressions int
}

// after are the filters that choose who answers, and act on the answer.
type after struct {
	cfg      afterConfig
	states   sync.Pool // of *afterState
	balance  balance
	mirrors  *mirrors
	compress compressor
}

// slotAfter is the Exchange's Slot that after keeps its state in.
const slotAfter = 2

// afterState is what after knows of an exchange from one hook to the next. Most exchanges have none.
type afterState struct {
	session  session
	loads    *loads // of the endpoints that were asked, where they are picked by load
	replaced bool   // another backend's answer is given
	buf      []byte // of texts that become fields
}

func newAfter(cfg afterConfig) (*after, error) {
	if cfg.Logger == nil {
		return nil, errors.New("the filters of answers need a logger")
	}
	if cfg.MirrorQueue < 0 || cfg.MirrorWorkers < 0 || cfg.MirrorBody < 0 || cfg.MirrorMemory < 0 || cfg.Compressions < 0 {
		return nil, errors.New("the filters' MirrorQueue, MirrorWorkers, MirrorBody, MirrorMemory and Compressions can't be negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Uint64
	}
	a := &after{cfg: cfg, mirrors: newMirrors(cfg)}
	a.states.New = func() any { return &afterState{buf: make([]byte, 0, 256)} }
	a.balance.init(cfg.Random, cfg.Now)
	a.compress.init(cfg.Compressions)
	return a, nil
}

// run sends mirrored requests until the context ends; those that wait are then dropped.
func (a *after) run(ctx context.Context) error { return a.mirrors.run(ctx) }

// state returns the exchange's state, and makes it if there is none.
func (a *after) state(x *exchange.Exchange) *afterState {
	if s, ok := x.Slots[slotAfter].(*afterState); ok {
		return s
	}
	s := a.states.Get().(*afterState)
	x.Slots[slotAfter] = s
	return s
}

// done takes what the exchange has shown into account, and gives its state back.
func (a *after) done(x *exchange.Exchange) {
	s, ok := x.Slots[slotAfter].(*afterState)
	if !ok {
		return
	}
	if s.loads != nil {
		a.balance.observe(s.loads, x.Attempts)
	}
	*s = afterState{buf: s.buf[:0]}
	x.Slots[slotAfter] = nil
	a.states.Put(s)
}
