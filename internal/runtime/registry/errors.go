package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// ErrDigest says that content is not what its digest says.
var ErrDigest = errors.New("its content has another digest")

// ErrSchema1 says that an image has Docker's first format.
var ErrSchema1 = errors.New("it has Docker's image format of schema 1, which is not supported; have the image built or pushed anew by a tool of after 2017")

// signedSchema1 is the type of a manifest of that format whose digest is that of what
// its signatures sign.
const signedSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

// StatusError is an answer of a registry that is no success.
type StatusError struct {
	// Code is the HTTP status.
	Code int
	// URL is what was asked for, without its query, which may hold a signature.
	URL string
	// Message is what the registry says about it; may be empty.
	Message string
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("GET %s: %d %s", e.URL, e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// maxMessage bounds what is passed on of a registry's words, in bytes.
const maxMessage = 500

// newStatusError reads what a registry says about a failure.
func newStatusError(resp *http.Response) error {
	e := &StatusError{Code: resp.StatusCode, URL: withoutQuery(resp.Request.URL)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && len(body) == 0 {
		return e // the status says enough
	}
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &doc) == nil {
		var parts []string
		for _, one := range doc.Errors {
			parts = append(parts, strings.Trim(one.Code+": "+one.Message, ": "))
		}
		e.Message = strings.Join(parts, "; ")
	}
	e.Message = printable(e.Message)
	return e
}

// printable keeps a registry's words on one line of a bounded length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}

func withoutQuery(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// requestError takes the URL out of the errors of net/http, whose query may hold a
// signature, and says what helps.
func requestError(u *url.URL, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("GET %s: %s speaks plain HTTP; if that is meant, say so in the registry configuration: server = \"http://%s\"", withoutQuery(u), u.Host, u.Host)
	}
	return fmt.Errorf("GET %s: %w", withoutQuery(u), err)
}

// triedError is the error of the endpoint that decides, which is the registry
// itself or who has sent a part already; it tells of the others as well.
type triedError struct {
	last   error
	others []error
}

func newTriedError(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &triedError{last: errs[len(errs)-1], others: errs[:len(errs)-1]}
}

// Error implements error.
func (e *triedError) Error() string {
	return fmt.Sprintf("%v (others that were asked for it: %v)", e.last, errors.Join(e.others...))
}

// Unwrap returns the error that decides.
func (e *triedError) Unwrap() error { return e.last }

// IsUnreachable tells whether the network is to blame for an error. An answer is
// not, and neither is a certificate that cannot be verified: somebody else may
// answer in the registry's place to have an older image run.
func IsUnreachable(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "read" || op.Op == "write"
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, errStalled)
}
