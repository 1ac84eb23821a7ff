package podchurn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// writers is how many write side by side.
const writers = 4

// TestWritesOutliveTheServer kills the server with SIGKILL while clients write: each write that was acknowledged is
// there afterwards, and a client whose connection was cut finds the next server waiting rather than nobody.
func TestWritesOutliveTheServer(t *testing.T) {
	minato := minatoOf(t, "test-churn-nodes")
	writes, kills := number(t, "WRITES", 500), number(t, "KILLS", 5)
	if writes == 0 {
		t.Skip("WRITES is 0")
	}
	client := oneNode(t, minato, -1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := &writing{client: client}
	var done sync.WaitGroup
	for writer := range writers {
		done.Go(func() { w.run(ctx, writer, writes/writers) })
	}
	for i := range kills {
		want := int64((i + 1) * writes / (kills + 1))
		eventually(ctx, t, "the writers go on", func() (bool, error) { return w.acknowledged.Load() >= want, nil })
		kill(ctx, t)
	}
	done.Wait()
	t.Logf("%d writes were acknowledged over %d SIGKILLs; %d requests were cut or refused: %v", w.acknowledged.Load(), kills, w.cut.Load()+w.refused.Load(), w.kinds())
	if w.failed != nil {
		t.Fatal(w.failed)
	}
	if n := w.refused.Load(); n > 0 {
		t.Errorf("%d requests found nobody who listens, or a server that refuses", n)
	}
	w.check(ctx, t)
}

// kill ends the server at once, and waits until there is the next one.
func kill(ctx context.Context, t *testing.T) {
	t.Helper()
	pid, err := serverPID(churned)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, "the next server", func() (bool, error) {
		next, err := serverPID(churned)
		return err == nil && next != pid, err
	})
}

// writing is what the writers share.
type writing struct {
	client                     kubernetes.Interface
	acknowledged, cut, refused atomic.Int64

	mu     sync.Mutex
	errs   map[string]int
	failed error
}

func (w *writing) kinds() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.errs
}

// run creates objects, and counts in one of them how many it has created.
func (w *writing) run(ctx context.Context, writer, n int) {
	maps := w.client.CoreV1().ConfigMaps("default")
	for i := range n {
		o := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w%d-%d", writer, i)}, Data: map[string]string{"number": strconv.Itoa(i)}}
		ok := w.try(ctx, func() error {
			_, err := maps.Create(ctx, o, metav1.CreateOptions{})
			if i > 0 && apierrors.IsAlreadyExists(err) {
				return nil // the answer was cut, and the object was written
			}
			return err
		})
		count := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("count-%d", writer)}, Data: map[string]string{"number": strconv.Itoa(i)}}
		ok = ok && w.try(ctx, func() error {
			_, err := maps.Update(ctx, count, metav1.UpdateOptions{})
			if apierrors.IsNotFound(err) {
				_, err = maps.Create(ctx, count, metav1.CreateOptions{})
			}
			return err
		})
		if !ok {
			return
		}
		w.acknowledged.Add(1)
	}
}

// try repeats a write until it is acknowledged. A request that was under way when the server ended is cut, which the
// client sees; one that comes later has to wait.
func (w *writing) try(ctx context.Context, write func() error) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := write()
		if err == nil {
			return true
		}
		w.count(err)
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.failed = err
			w.mu.Unlock()
			return false
		case <-tick.C:
		}
	}
}

func (w *writing) count(err error) {
	var status apierrors.APIStatus
	kind := "connection cut"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		kind = "connection refused"
		w.refused.Add(1)
	case errors.As(err, &status):
		kind = string(status.Status().Reason)
		w.refused.Add(1)
	default:
		w.cut.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.errs == nil {
		w.errs = map[string]int{}
	}
	w.errs[kind]++
}

// check fails for each write that was acknowledged and is not there.
func (w *writing) check(ctx context.Context, t *testing.T) {
	t.Helper()
	list, err := w.client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for i := range list.Items {
		have[list.Items[i].Name] = list.Items[i].Data["number"]
	}
	each := int(w.acknowledged.Load()) / writers
	for writer := range writers {
		for i := range each {
			if got := have[fmt.Sprintf("w%d-%d", writer, i)]; got != strconv.Itoa(i) {
				t.Errorf("object %d of writer %d was acknowledged, and says %q", i, writer, got)
			}
		}
		if got := have[fmt.Sprintf("count-%d", writer)]; got != strconv.Itoa(each-1) {
			t.Errorf("writer %d has counted to %d, and the store says %q", writer, each-1, got)
		}
	}
}
