package memory

import (
	"context"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

type identityKey struct{}

// withIdentity marks ctx as belonging to a request made by u inside this process.
func withIdentity(ctx context.Context, u user.Info) context.Context {
	return context.WithValue(ctx, identityKey{}, u)
}

func identityFrom(ctx context.Context) (user.Info, bool) {
	u, ok := ctx.Value(identityKey{}).(user.Info)
	return u, ok
}

// NewUser describes an identity. As for any other authenticated request,
// system:authenticated is among the groups.
func NewUser(name string, groups ...string) user.Info {
	all := make([]string, 0, len(groups)+1)
	seen := false
	for _, g := range groups {
		seen = seen || g == user.AllAuthenticated
		all = append(all, g)
	}
	if !seen && name != user.Anonymous {
		all = append(all, user.AllAuthenticated)
	}
	return &user.DefaultInfo{Name: name, Groups: all}
}

// Authenticator answers for in-memory requests and leaves all others to next.
func Authenticator(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if u, ok := identityFrom(req.Context()); ok {
			// The server hands out these identities itself, so they are good for
			// whatever audience it is asked for.
			auds, _ := authenticator.AudiencesFrom(req.Context())
			return &authenticator.Response{User: u, Audiences: auds}, true, nil
		}
		if next == nil {
			return nil, false, nil
		}
		return next.AuthenticateRequest(req)
	})
}
