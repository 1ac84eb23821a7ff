package loadbalancer

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"minato/internal/loadbalancer/config"
)

// Passwords reads the password of a BGP peer from a Secret in config.Namespace. It is not found where there is no such
// Secret, or it is of another type or has none; an error says that this is not known.
type Passwords func(ctx context.Context, secret string) (password string, found bool, err error)

// ReadPasswords reads Secrets by the right to get single ones.
func ReadPasswords(client kubernetes.Interface) Passwords {
	return func(ctx context.Context, name string) (string, bool, error) {
		s, err := client.CoreV1().Secrets(config.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return "", false, nil
		case err != nil:
			return "", false, err
		case s.Type != corev1.SecretTypeBasicAuth || len(s.Data[corev1.BasicAuthPasswordKey]) == 0:
			return "", false, nil
		}
		return string(s.Data[corev1.BasicAuthPasswordKey]), true, nil
	}
}

const (
	// secretPeriod is when a Secret is read again that may have changed, and secretRetry when one that was missing or could
	// not be read.
	secretPeriod = 30 * time.Second
	secretRetry  = 2 * time.Second
	// secretTimeout bounds one request, and secretPatience how long a first answer is waited for.
	secretTimeout  = 5 * time.Second
	secretPatience = 15 * time.Second
)

// secrets are the passwords of peers. Nobody waits for the API server.
type secrets struct {
	read    Passwords
	log     *slog.Logger
	changed func()
	wake    chan struct{}

	mu    sync.Mutex
	wants map[string]*secret
}

type secret struct {
	known    bool // it was read
	found    bool
	password string
	failing  bool
	since    time.Time // when it was wanted first
}

func newSecrets(read Passwords, log *slog.Logger, changed func()) *secrets {
	return &secrets{read: read, log: log, changed: changed, wake: make(chan struct{}, 1), wants: map[string]*secret{}}
}

// want says which Secrets are to be read; again has all of them read now.
func (s *secrets) want(names []string, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.wants[name] == nil {
			s.wants[name], again = &secret{since: time.Now()}, true
		}
	}
	maps.DeleteFunc(s.wants, func(name string, _ *secret) bool { return !slices.Contains(names, name) })
	if again {
		poke(s.wake)
	}
}

// passwords are those that were found. They are complete unless a Secret has not been read yet, and may still be.
func (s *secrets) passwords() (found map[string]string, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, complete = map[string]string{}, true
	for name, w := range s.wants {
		if w.found {
			found[name] = w.password
		}
		if !w.known && time.Since(w.since) < secretPatience {
			complete = false
		}
	}
	return found, complete
}

// run reads Secrets until ctx ends.
func (s *secrets) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := s.round(ctx)
		var due <-chan time.Time
		if next > 0 {
			due = time.After(next)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-due:
		}
	}
}

// round reads all Secrets, and says when the next round is due; 0 is never.
func (s *secrets) round(ctx context.Context) (next time.Duration) {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.wants))
	s.mu.Unlock()
	changed := false
	for _, name := range names {
		reading, cancel := context.WithTimeout(ctx, secretTimeout)
		password, found, err := s.read(reading, name)
		cancel()
		if ctx.Err() != nil {
			return 0
		}
		changed = s.note(name, password, found, err) || changed
		wait := secretPeriod
		if err != nil || !found {
			wait = secretRetry
		}
		if next == 0 || wait < next {
			next = wait
		}
	}
	if changed {
		s.changed()
	}
	return next
}

// note takes in what was read, and tells whether it is new. What can't be read stays as it was.
func (s *secrets) note(name, password string, found bool, err error) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wants[name]
	if w == nil {
		return false
	}
	first := err != nil && !w.failing
	w.failing = err != nil
	if first {
		s.log.Warn("The Secret with the password of a BGP peer can't be read, which is tried again", "namespace", config.Namespace, "name", name, "error", err)
	}
	if err != nil {
		return !w.known && time.Since(w.since) >= secretPatience // those who waited go on without
	}
	changed = !w.known || w.found != found || w.password != password
	w.known, w.found, w.password = true, found, password
	return changed
}
