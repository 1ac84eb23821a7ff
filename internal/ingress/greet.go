package ingress

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// greet says hello to a Helper, and returns what it answers, with the sockets that it has.
func greet(ctx context.Context, w *wire, mine hello) (hello, socketList, []*os.File, error) {
	var theirs hello
	fail := func(err error) (hello, socketList, []*os.File, error) { return theirs, socketList{}, nil, err }
	mine.PID = os.Getpid()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Now()) })()
	if err := w.sendJSON(frameHello, mine); err != nil {
		return fail(err)
	}
	f, err := w.receive()
	if err == nil && f.kind != frameHello {
		err = errFrame
	}
	if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(f.content, &theirs); err != nil {
		return fail(fmt.Errorf("%w: %w", errFrame, err))
	}
	f, err = w.receive()
	if err == nil && f.kind != frameSockets {
		err = errFrame
	}
	if err != nil {
		return fail(err)
	}
	list, files, err := w.takeSockets(f)
	if err != nil {
		return fail(err)
	}
	return theirs, list, files, nil
}
