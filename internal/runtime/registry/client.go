package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Login is what somebody is known by at a registry. The zero value is nobody.
type Login struct {
	Username, Password string
	// IdentityToken is exchanged for a token of the registry's (OAuth 2).
	IdentityToken string
	// RegistryToken is shown to the registry as it is.
	RegistryToken string
}

// client asks one endpoint for one repository.
type client struct {
	endpoint
	registry   string
	repository string
	login      Login
	http       *http.Client
	closeIdle  func()

	mu sync.Mutex
	// plain says that it was found to speak no TLS.
	plain bool
	// authorization is the header that the endpoint has accepted last, or "".
	authorization string
}

func newClient(e endpoint, registry, repository string, login Login, base http.RoundTripper) (*client, error) {
	rt, own, err := e.transport(base)
	if err != nil {
		return nil, err
	}
	c := &client{endpoint: e, registry: registry, repository: repository, login: login, closeIdle: func() {}}
	if t, ok := rt.(*http.Transport); ok && own {
		c.closeIdle = t.CloseIdleConnections
	}
	c.http = &http.Client{Transport: newBoundedTransport(rt), CheckRedirect: c.checkRedirect}
	if login.RegistryToken != "" {
		c.authorization = "Bearer " + login.RegistryToken
	}
	return c, nil
}

// checkRedirect follows a registry to where it has its content, without what is
// meant for itself only.
func (c *client) checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	req.Header.Del("Referer") // where it comes from may have a signature in its query
	switch {
	case len(via) >= 10:
		return errors.New("it leads through more than the limit of 10 redirections")
	case from.URL.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("it leads from https to %s", withoutQuery(req.URL))
	case req.Method == http.MethodPost && req.URL.Host != via[0].URL.Host:
		// The body has an identity token, which no other host may have.
		return fmt.Errorf("it leads on to %s, which is not given the identity token", withoutQuery(req.URL))
	case req.URL.Host != via[0].URL.Host:
		req.Header.Del("Authorization")
		for key := range c.header {
			req.Header.Del(key)
		}
	}
	return nil
}

// get asks for a path of the repository, such as "manifests/v1". It logs in where
// it is asked to. The answer is a success, or the error says what it is.
func (c *client) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		c.mu.Lock()
		shown := c.authorization
		c.mu.Unlock()
		resp, err := c.send(ctx, path, header, shown)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		err = newStatusError(resp)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || attempt > 0 {
			return nil, err
		}
		again, lerr := c.logIn(ctx, resp, shown)
		if lerr != nil {
			return nil, lerr
		}
		if !again {
			return nil, err
		}
	}
}

func (c *client) send(ctx context.Context, path string, header http.Header, authorization string) (*http.Response, error) {
	for {
		c.mu.Lock()
		plain := c.plain
		c.mu.Unlock()
		u := c.url(path, plain)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, err
		}
		for _, h := range []http.Header{header, c.header} {
			for key, values := range h {
				req.Header[http.CanonicalHeaderKey(key)] = values
			}
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		req.Header.Set("User-Agent", "minato")
		resp, err := c.http.Do(req)
		if err == nil {
			return resp, nil
		}
		if c.fallback && !plain && speaksNoTLS(err) {
			c.mu.Lock()
			c.plain = true
			c.mu.Unlock()
			continue
		}
		return nil, requestError(u, err)
	}
}

func (c *client) url(path string, plain bool) *url.URL {
	u := &url.URL{Scheme: c.scheme, Host: c.host, Path: c.path + "/" + c.repository + "/" + path}
	if plain {
		u.Scheme = "http"
	}
	if ns := c.namespace(c.registry); ns != "" {
		u.RawQuery = url.Values{"ns": {ns}}.Encode()
	}
	return u
}

// logIn answers a registry that asks who is there. It returns false where there
// is nothing that was not tried.
func (c *client) logIn(ctx context.Context, resp *http.Response, shown string) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.authorization != shown {
		return true, nil // another request has logged in meanwhile
	}
	if c.login.RegistryToken != "" || resp.Request.URL.Host != c.host {
		return false, nil // whoever it has led us to must not ask for its passwords
	}
	var all []challenge
	for _, header := range resp.Header.Values("WWW-Authenticate") {
		all = append(all, parseChallenges(header)...)
	}
	next := ""
	for _, ch := range all {
		if ch.scheme == "bearer" {
			token, err := c.token(ctx, ch)
			if err != nil {
				return false, err
			}
			next = "Bearer " + token
			break
		}
		if ch.scheme == "basic" && c.login.Username != "" {
			next = basic(c.login)
		}
	}
	if next == "" || next == shown {
		return false, nil
	}
	c.authorization = next
	return true, nil
}

// name is what errors call the endpoint.
func (c *client) name() string {
	return c.host + strings.TrimSuffix(c.path, "/v2")
}
