package volume

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type tokenKey struct {
	uid    types.UID
	volume string
	path   string
}

type token struct {
	value string
	// The token is asked for again at the date renew, and before the date issued: the
	// clock was set then, and the API server goes by the date as well.
	issued, renew time.Time
}

func (t token) good(now time.Time) bool { return !now.Before(t.issued) && now.Before(t.renew) }

const (
	// maxTokenAge is when a token is renewed even if it is valid for longer.
	maxTokenAge = 24 * time.Hour
	// setBack is by how much the clock may be set back before tokens are asked for again.
	setBack = 10 * time.Second
	// renewJitter keeps the Pods of a node from renewing all at once.
	renewJitter = 10 * time.Second
	// defaultExpiration is how long a token is asked for if the Pod does not say.
	defaultExpiration = int64(3600)
)

// serviceAccountToken gives the token file, asking for a new token once four
// fifths of the old one's time are over.
func (m *Manager) serviceAccountToken(ctx context.Context, pod *v1.Pod, volume string, p *v1.ServiceAccountTokenProjection, defaultMode int32) (map[string]file, time.Time, error) {
	name, err := cleanPath(p.Path)
	if err != nil {
		return nil, time.Time{}, err
	}
	key := tokenKey{uid: pod.UID, volume: volume, path: name}
	now := m.cfg.Clock.Now().Round(0) // a date: timers do not see that the clock is set
	m.mu.Lock()
	t, ok := m.tokens[key]
	m.mu.Unlock()
	if !ok || !t.good(now) {
		if t, err = m.requestToken(ctx, pod, p, now); err != nil {
			return nil, time.Time{}, err
		}
		m.mu.Lock()
		m.tokens[key] = t
		m.mu.Unlock()
	}
	f := file{data: []byte(t.value), mode: defaultMode, uid: commonUser(pod)}
	if f.uid >= 0 || fsGroup(pod) >= 0 {
		f.mode = 0o600 // exactly the Pod's user, or its group, is let in
	}
	return map[string]file{name: f}, t.renew, nil
}

func (m *Manager) requestToken(ctx context.Context, pod *v1.Pod, p *v1.ServiceAccountTokenProjection, now time.Time) (token, error) {
	seconds := defaultExpiration
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if p.Audience != "" {
		req.Spec.Audiences = []string{p.Audience}
	}
	got, err := m.cfg.Tokens.Token(ctx, pod.Namespace, pod.Spec.ServiceAccountName, req)
	if err != nil {
		return token{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	life := got.Status.ExpirationTimestamp.Sub(now)
	return token{value: got.Status.Token, issued: now.Add(-setBack), renew: now.Add(min(life*4/5, maxTokenAge) - rand.N(renewJitter))}, nil
}

func (m *Manager) forgetTokens(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.tokens {
		if k.uid == uid {
			delete(m.tokens, k)
		}
	}
}

// commonUser is the user whom every container of the Pod runs as, below zero if
// there is no such one.
func commonUser(pod *v1.Pod) int {
	uid := int64(-1)
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			u := runAsUser(pod, &list[i])
			if u == nil || (uid >= 0 && *u != uid) {
				return -1
			}
			uid = *u
		}
	}
	return int(uid)
}

func runAsUser(pod *v1.Pod, c *v1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.RunAsUser
	}
	return nil
}
