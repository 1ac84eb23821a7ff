package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"
)

// roleArgument starts this program as what runs on a machine of the LAN.
const roleArgument = "on-the-lan"

// order is what such a process is told, as a line of JSON; all but ask and forget are answered with one.
type order struct {
	Do   string         `json:"do"`
	To   netip.AddrPort `json:"to,omitzero"`
	Rate int            `json:"rate,omitempty"`
	Hold int            `json:"hold,omitempty"`

	Addresses []netip.Addr  `json:"addresses,omitempty"`
	For       time.Duration `json:"for,omitempty"`
}

// The orders.
const (
	startLoad = "start load" // of connections to To
	lookAt    = "look"       // at how the load does: view
	stopLoad  = "stop load"  // loadResult
	whoHas    = "who has"    // Addresses; collect answers for a time: []claim
	awaitAll  = "await"      // Addresses too: each first answer is told as a claim, when it comes
	forget    = "forget"     // what is awaited
)

func play(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments", roleArgument)
	}
	var (
		mu      sync.Mutex
		running *load
		asking  *prober
	)
	say := func(v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		_, err = os.Stdout.Write(append(data, '\n'))
		return err
	}
	for orders := json.NewDecoder(os.Stdin); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if asking == nil && (o.Do == whoHas || o.Do == awaitAll) {
			var err error
			if asking, err = newProber("eth0", say); err != nil {
				return err
			}
		}
		var err error
		switch o.Do {
		case startLoad:
			running = newLoad(o)
			err = say(struct{}{})
		case lookAt:
			err = say(running.look())
		case stopLoad:
			err = say(running.stop())
		case whoHas:
			err = say(asking.collect(o.Addresses, o.For))
		case awaitAll:
			asking.await(o.Addresses)
		case forget:
			asking.forget()
		default:
			err = fmt.Errorf("there is no order %q", o.Do)
		}
		if err != nil {
			return err
		}
	}
}
