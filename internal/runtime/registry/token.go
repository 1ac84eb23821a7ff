package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxToken bounds what a token server answers, in bytes.
const maxToken = 256 << 10

func basic(l Login) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.Username+":"+l.Password))
}

// token asks the token server that a challenge names for a token
// (distribution-spec's token authentication; OAuth 2 for identity tokens).
func (c *client) token(ctx context.Context, ch challenge) (string, error) {
	realm, err := c.realm(ch.params["realm"])
	if err != nil {
		return "", err
	}
	values := url.Values{}
	if service := ch.params["service"]; service != "" {
		values.Set("service", service)
	}
	scope := ch.params["scope"]
	if scope == "" {
		scope = "repository:" + c.repository + ":pull"
	}
	values["scope"] = strings.Fields(scope)
	req, err := c.tokenRequest(ctx, realm, values)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("log in: %w", requestError(realm, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("log in: %w", newStatusError(resp))
	}
	var doc struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if doc.Token == "" {
		doc.Token = doc.AccessToken
	}
	if err == nil && (doc.Token == "" || strings.ContainsAny(doc.Token, "\r\n")) {
		err = errors.New("it has no token")
	}
	if err != nil {
		// The answer itself may hold half a token.
		return "", fmt.Errorf("log in: the answer of %s is not understood", withoutQuery(realm))
	}
	return doc.Token, nil
}

func (c *client) tokenRequest(ctx context.Context, realm *url.URL, values url.Values) (req *http.Request, err error) {
	if c.login.IdentityToken != "" {
		values.Set("grant_type", "refresh_token")
		values.Set("refresh_token", c.login.IdentityToken)
		values.Set("client_id", "minato")
		values.Set("scope", strings.Join(values["scope"], " "))
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(values.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	u := *realm
	query := u.Query()
	for key, list := range values {
		query[key] = list
	}
	u.RawQuery = query.Encode()
	if req, err = http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil); err != nil {
		return nil, err
	}
	if c.login.Username != "" {
		req.Header.Set("Authorization", basic(c.login))
	}
	return req, nil
}

// realm checks where a registry sends somebody with a password: never from TLS to
// plain HTTP, and not to the addresses at which clouds give their machines'
// secrets.
func (c *client) realm(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("log in: %s names no token server: realm %q", c.name(), printable(text))
	}
	plain := c.scheme == "http" || c.plain
	if u.Scheme != "https" && !(u.Scheme == "http" && plain) {
		return nil, fmt.Errorf("log in: %s names the token server %s; a password goes there by https only", c.name(), withoutQuery(u))
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLinkLocalUnicast() && !sameHost(host, c.host) {
		return nil, fmt.Errorf("log in: %s names a token server at the link-local address %s, which is refused", c.name(), host)
	}
	return u, nil
}

func sameHost(host, hostPort string) bool {
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		hostPort = h
	}
	return host == strings.Trim(hostPort, "[]")
}
