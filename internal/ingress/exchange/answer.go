package exchange

import "minato/internal/ingress/table"

// Answer is an answer that is given in place of a backend's.
type Answer struct {
	// Status is the HTTP status. 444 closes the connection without an answer.
	Status int
	// Headers are added to the answer. Content-Length is the proxy's.
	Headers []table.HeaderField
	// Body is the answer's body. If it is nil and Status is one that has a body, the proxy's own page is sent; set NoPage
	// for an empty body.
	Body   []byte
	NoPage bool
}

// Reply returns the Exchange's own Answer with the status and nothing else, for a hook to fill in and return.
func (x *Exchange) Reply(status int) *Answer {
	x.answer.Status, x.answer.Body, x.answer.NoPage = status, nil, false
	x.answer.Headers = x.answer.Headers[:0]
	return &x.answer
}

// With adds a field to the Answer and returns it.
func (a *Answer) With(name, value string) *Answer {
	a.Headers = append(a.Headers, table.HeaderField{Name: name, Value: value})
	return a
}
