package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// user is who sent a request.
type user struct {
	name, uid string
	groups    []string
	extra     map[string]authzv1.ExtraValue
}

// How long an answer of the API server is used again.
const (
	tokenTTL   = 2 * time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second
	// maxAnswers bounds each cache.
	maxAnswers = 1024
	// maxReviews is how many unknown tokens are reviewed at a time. Whoever can
	// connect can send any number of them, and each review is a request of the
	// node to the API server, among those for its Pods and its status.
	maxReviews = 8
)

// gate authenticates and authorizes requests.
type gate struct {
	client kubernetes.Interface
	node   string
	clock  clock.PassiveClock

	reviews chan struct{} // holds a token for each review under way

	mu      sync.Mutex
	known   map[[sha256.Size]byte]tokenAnswer // apart from the unknown ones, of which strangers can send any number
	unknown map[[sha256.Size]byte]tokenAnswer
	allowed map[string]accessAnswer
}

type tokenAnswer struct {
	user  *user // nil: refused
	until time.Time
}

type accessAnswer struct {
	ok     bool
	reason string
	until  time.Time
}

func newGate(client kubernetes.Interface, node string, c clock.PassiveClock) *gate {
	return &gate{
		client: client, node: node, clock: c, reviews: make(chan struct{}, maxReviews),
		known: map[[sha256.Size]byte]tokenAnswer{}, unknown: map[[sha256.Size]byte]tokenAnswer{},
		allowed: map[string]accessAnswer{},
	}
}

// authenticate tells who sent the request; nil if it carries no valid credential.
func (g *gate) authenticate(r *http.Request) (*user, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		subject := r.TLS.VerifiedChains[0][0].Subject
		return &user{name: subject.CommonName, groups: append(subject.Organization, "system:authenticated")}, nil
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, nil
	}
	return g.byToken(r.Context(), token)
}

func (g *gate) byToken(ctx context.Context, token string) (*user, error) {
	key, now := sha256.Sum256([]byte(token)), g.clock.Now()
	if have, ok := g.answer(key, now); ok {
		return have, nil
	}
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
	case <-ctx.Done():
		return nil, fmt.Errorf("review token: %w", context.Cause(ctx))
	}
	if have, ok := g.answer(key, now); ok { // reviewed while this one waited
		return have, nil
	}
	review, err := g.client.AuthenticationV1().TokenReviews().Create(ctx, &authnv1.TokenReview{
		Spec: authnv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review token: %w", err)
	}
	answer := tokenAnswer{until: now.Add(tokenTTL)}
	if s := review.Status; s.Authenticated {
		answer.user = &user{name: s.User.Username, uid: s.User.UID, groups: s.User.Groups, extra: map[string]authzv1.ExtraValue{}}
		for k, v := range s.User.Extra {
			answer.user.extra[k] = authzv1.ExtraValue(v)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	answers := g.unknown
	if answer.user != nil {
		answers = g.known
	}
	if len(answers) >= maxAnswers {
		clear(answers)
	}
	answers[key] = answer
	return answer.user, nil
}

// answer returns what an earlier review said of a token.
func (g *gate) answer(key [sha256.Size]byte, now time.Time) (u *user, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	have, ok := g.known[key]
	if !ok {
		have, ok = g.unknown[key]
	}
	return have.user, ok && now.Before(have.until)
}

// authorize tells whether the user has the verb for one of the subresources of
// the node; the first that is allowed counts.
func (g *gate) authorize(ctx context.Context, u *user, verb string, subresources ...string) (ok bool, reason string, err error) {
	for _, subresource := range subresources {
		if ok, reason, err = g.ask(ctx, u, verb, subresource); ok || err != nil {
			return ok, reason, err
		}
	}
	return false, reason, nil
}

func (g *gate) ask(ctx context.Context, u *user, verb, subresource string) (bool, string, error) {
	key, now := fmt.Sprintf("%q %q %q %q %q %q", u.name, u.uid, u.groups, u.extra, verb, subresource), g.clock.Now()
	g.mu.Lock()
	have, ok := g.allowed[key]
	g.mu.Unlock()
	if ok && now.Before(have.until) {
		return have.ok, have.reason, nil
	}
	review, err := g.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authzv1.SubjectAccessReview{
		Spec: authzv1.SubjectAccessReviewSpec{
			User: u.name, UID: u.uid, Groups: u.groups, Extra: u.extra,
			ResourceAttributes: &authzv1.ResourceAttributes{
				Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: g.node,
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, "", fmt.Errorf("review access: %w", err)
	}
	answer := accessAnswer{ok: review.Status.Allowed && !review.Status.Denied, reason: review.Status.Reason, until: now.Add(deniedTTL)}
	if answer.ok {
		answer.until = now.Add(allowedTTL)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.allowed) >= maxAnswers {
		clear(g.allowed)
	}
	g.allowed[key] = answer
	return answer.ok, answer.reason, nil
}

// guard wraps a handler with authentication and authorization: the user needs the
// verb for one of the subresources of the node.
func (s *Server) guard(verb string, subresources []string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, err := s.gate.authenticate(r)
		if err != nil {
			s.log.Warn("A request to the node API cannot be authenticated", "path", r.URL.Path, "error", err)
		}
		if u == nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		v := verb
		if v == "" {
			v = verbOf(r.Method)
		}
		ok, reason, err := s.gate.authorize(r.Context(), u, v, subresources...)
		if err != nil {
			http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%v): %v", u.name, v, subresources, err), http.StatusInternalServerError)
			return
		}
		if !ok {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v) %s", u.name, v, subresources, reason), http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return "get"
}
