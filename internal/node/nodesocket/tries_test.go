package nodesocket

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Each reason is told once, until it is another or things have worked in between. The
// pauses grow to their bound, and are short again once things have worked.
func TestTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		var at []time.Duration
		begun := time.Now()
		tries := &Tries{First: time.Second, Most: 3 * time.Second, Tell: func(err error) { told = append(told, err.Error()) }}
		results := []string{"a", "a", "a", "b", "b", "works, then b", "b", ""}
		done := tries.Until(t.Context(), func(context.Context) error {
			at = append(at, time.Since(begun))
			now := results[0]
			results = results[1:]
			switch now {
			case "":
				return nil
			case "works, then b":
				tries.Worked()
				now = "b"
			}
			return errors.New(now)
		})
		if want := []string{"a", "b", "b"}; !done || !slices.Equal(told, want) {
			t.Errorf("done %t, told %q; want %q", done, told, want)
		}
		want := []time.Duration{0, 1, 3, 6, 9, 12, 13, 15} // seconds
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(at, want) {
			t.Errorf("tried after %v, want %v", at, want)
		}
	})
}

// The end of the context ends the tries, at once and without a word.
func TestTriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, while := range []string{"a try", "a pause"} {
			ctx, cancel := context.WithCancel(t.Context())
			var told []error
			tries := &Tries{First: time.Hour, Most: time.Hour, Tell: func(err error) { told = append(told, err) }}
			begun := time.Now()
			if while == "a pause" {
				time.AfterFunc(time.Second, cancel)
			}
			done := tries.Until(ctx, func(context.Context) error {
				if while == "a try" {
					cancel()
				}
				return errors.New("it ends")
			})
			cancel()
			if silent := len(told) == 0; done || silent != (while == "a try") || time.Since(begun) > time.Second {
				t.Errorf("ended during %s: done %t, told %v, after %v", while, done, told, time.Since(begun))
			}
		}
	})
}
