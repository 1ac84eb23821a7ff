package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	if err := Do("nothing", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := Do("fail", func() error { return context.Canceled }); err != context.Canceled {
		t.Errorf("err = %v", err)
	}
	var volumes map[string]int
	err := Do("set up volumes", func() error { volumes["m"]++; return nil })
	var p *Panic
	if !errors.As(err, &p) || p.Work != "set up volumes" {
		t.Fatalf("err = %v", err)
	}
	if !strings.Contains(string(Stack(err)), "guard_test.go") {
		t.Errorf("the stack does not name the place of the panic:\n%s", p.Stack)
	}
	if strings.Contains(err.Error(), "goroutine") {
		t.Errorf("the text has the stack: %v", err)
	}
	if err := Do("x", func() error { panic(context.DeadlineExceeded) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the panic's error is lost: %v", err)
	}
	if Stack(context.Canceled) != nil {
		t.Error("an ordinary error has a stack")
	}
}

func TestGroup(t *testing.T) {
	var g Group
	done := make(chan struct{})
	g.Go("panic", func() error { panic("broken") })
	g.Go("work", func() error { close(done); return nil })
	if err := g.Wait(); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("err = %v", err)
	}
	<-done
}
