// Package guard keeps a panic inside of the Pod whose work caused it.
//
// Every goroutine that works for one Pod runs its function through Do, so that
// a panic becomes an error of that Pod: the caller tells it in an event, tries
// again later, and the other Pods of the node go on. A panic elsewhere ends the
// process, which is then started again as a whole. It may import nothing of
// this program.
package guard

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Panic is a panic that was caught. Its stack belongs into the log; the error's
// text, which events show, does not have it.
type Panic struct {
	// Work names what was being done, such as "set up volumes".
	Work  string
	Value any
	Stack []byte
}

// Error implements error.
func (p *Panic) Error() string {
	return fmt.Sprintf("the node agent has a fault and panicked in %q: %v", p.Work, p.Value)
}

// Unwrap returns the error that was the panic's value, if it was one.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Do calls f and returns its error; a panic of f is returned as a *Panic.
func Do(work string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Work: work, Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// Stack is the stack of the panic among err's causes, nil if there is none.
func Stack(err error) []byte {
	var p *Panic
	if !errors.As(err, &p) {
		return nil
	}
	return slices.Clone(p.Stack)
}

// Group is an errgroup.Group whose functions may panic: Wait returns the first
// error, and a panic is one.
type Group struct{ group errgroup.Group }

// Go calls f in a goroutine of its own.
func (g *Group) Go(work string, f func() error) {
	g.group.Go(func() error { return Do(work, f) })
}

// Wait returns the first error once all functions have returned.
func (g *Group) Wait() error { return g.group.Wait() }
