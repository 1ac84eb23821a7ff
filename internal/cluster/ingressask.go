package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"minato/internal/ingress"
)

// IngressRoute is a path of a host, IngressQuestion a request and IngressAnswer
// where it goes and why.
type (
	IngressRoute    = ingress.Route
	IngressQuestion = ingress.Question
	IngressAnswer   = ingress.Answer
)

// WriteIngressRoutes writes routes as a table.
func WriteIngressRoutes(out io.Writer, routes []IngressRoute) error {
	return ingress.WriteRoutes(out, routes)
}

// ParseIngressHeader adds a header that is written as curl takes it.
func ParseIngressHeader(q *IngressQuestion, text string) error {
	return ingress.ParseHeader(q.Header, text)
}

// ReadIngressRoutes asks the cluster's server for every route of a node's proxy.
func ReadIngressRoutes(ctx context.Context, name, node string) ([]IngressRoute, error) {
	var out []IngressRoute
	err := ask(ctx, name, "/ingress/routes", url.Values{"node": {node}}, &out)
	return out, err
}

// MatchIngress asks the cluster's server where a node's proxy sends a request.
func MatchIngress(ctx context.Context, name, node string, q IngressQuestion) (*IngressAnswer, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	out := new(IngressAnswer)
	err = ask(ctx, name, "/ingress/match", url.Values{"node": {node}, "question": {string(text)}}, out)
	return out, err
}

// FileIngressRoutes and FileMatchIngress answer from manifests, without a cluster.
func FileIngressRoutes(files []string) ([]IngressRoute, error) {
	p, err := filePicture(files)
	if err != nil {
		return nil, err
	}
	return p.Routes(), nil
}

// FileMatchIngress is MatchIngress for manifests.
func FileMatchIngress(files []string, q IngressQuestion) (*IngressAnswer, error) {
	p, err := filePicture(files)
	if err != nil {
		return nil, err
	}
	return p.Match(q)
}

func filePicture(files []string) (*ingress.Picture, error) {
	objects, err := readManifests(files, false)
	if err != nil {
		return nil, err
	}
	return ingress.NewPicture(ingress.WithOwnClasses(ingress.Changes(objects)), ingress.Facts{Options: ingress.DefaultOptions()})
}

// answerIngress serves the requests about Ingresses.
func (s *Server) answerIngress(answer func(path string, read func(context.Context, url.Values) (any, error))) {
	picture := func(v url.Values) (*ingress.Picture, error) {
		m, err := s.nodeNamed(v.Get("node"))
		if err != nil {
			return nil, err
		}
		return m.IngressPicture()
	}
	answer("/ingress/routes", func(_ context.Context, v url.Values) (any, error) {
		p, err := picture(v)
		if err != nil {
			return nil, err
		}
		return p.Routes(), nil
	})
	answer("/ingress/match", func(_ context.Context, v url.Values) (any, error) {
		p, err := picture(v)
		if err != nil {
			return nil, err
		}
		var q IngressQuestion
		if err := json.Unmarshal([]byte(v.Get("question")), &q); err != nil {
			return nil, fmt.Errorf("question: %w", err)
		}
		return p.Match(q)
	})
}
