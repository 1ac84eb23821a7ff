package registry

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// hostFields are what hosts.toml says of one endpoint. The fields that may be a
// string or a list are checked by hand.
type hostFields struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// hostsFields are a whole hosts.toml: the registry itself, and its mirrors by URL.
type hostsFields struct {
	hostFields
	Server string                `toml:"server"`
	Host   map[string]hostFields `toml:"host"`
}

// parseHosts reads a hosts.toml of containerd's. The endpoints are in the order in
// which they are tried: mirrors as they are in the file, then the registry itself.
// base is where relative paths of files begin. What it does not know is an error.
func parseHosts(data []byte, registry, base string) ([]endpoint, error) {
	var c hostsFields
	if err := decode(data, &c); err != nil {
		return nil, err
	}
	order, err := tableOrder(data, "host")
	if err != nil {
		return nil, err
	}
	return hostsTable{c, order}.endpoints(registry, base)
}

// parseRegistries reads a file with the same for several registries: tables by
// registry, such as ["docker.io"] and ["docker.io".host."https://mirror"].
func parseRegistries(data []byte) (map[string]hostsTable, error) {
	var all map[string]hostsFields
	if err := decode(data, &all); err != nil {
		return nil, err
	}
	out := map[string]hostsTable{}
	for _, registry := range slices.Sorted(maps.Keys(all)) {
		if registry != anyRegistry && (registry == "" || strings.ContainsAny(registry, "/ ")) {
			return nil, fmt.Errorf("[%q]: is not a registry's host; give one such as \"registry.example:5000\", or %q for all others", registry, anyRegistry)
		}
		order, err := tableOrder(data, registry, "host")
		if err != nil {
			return nil, err
		}
		out[registry] = hostsTable{all[registry], order}
	}
	return out, nil
}

// hostsTable is what a file says of one registry.
type hostsTable struct {
	fields hostsFields
	order  []string // of the mirrors
}

// anyRegistry stands for all registries that nothing else is said of.
const anyRegistry = "_default"

func decode(data []byte, into any) error {
	d := toml.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		at := unknown.Errors[0]
		row, _ := at.Position()
		return fmt.Errorf("line %d: %s is not a field of hosts.toml", row, strings.Join(at.Key(), "."))
	}
	var broken *toml.DecodeError
	if errors.As(err, &broken) {
		row, column := broken.Position()
		return fmt.Errorf("line %d, column %d: %w", row, column, err)
	}
	return err
}

// tableOrder lists the tables below prefix in the order of the file: mirrors are
// tried in that order, which a map does not keep.
func tableOrder(data []byte, prefix ...string) ([]string, error) {
	var p unstable.Parser
	p.Reset(data)
	var order []string
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var parts []string
		for key := e.Key(); key.Next(); {
			parts = append(parts, string(key.Node().Data))
		}
		n := len(prefix)
		if len(parts) > n && slices.Equal(parts[:n], prefix) && !slices.Contains(order, parts[n]) {
			order = append(order, parts[n])
		}
	}
	return order, p.Error()
}

// endpoints are the mirrors and then the registry itself.
func (t hostsTable) endpoints(registry, base string) ([]endpoint, error) {
	c, order := t.fields, t.order
	var out []endpoint
	for _, url := range slices.Sorted(maps.Keys(c.Host)) {
		if !slices.Contains(order, url) {
			return nil, fmt.Errorf("host %q: give it a table of its own, [host.%q]: mirrors are tried in the order of their tables", url, url)
		}
	}
	for _, url := range order {
		f, ok := c.Host[url]
		if !ok {
			continue
		}
		var e endpoint
		err := e.setServer(url, f.OverridePath)
		if err == nil {
			err = f.apply(&e, base)
		}
		if err != nil {
			return nil, fmt.Errorf("[host.%q]: %w", url, err)
		}
		out = append(out, e)
	}
	last := defaultEndpoint(registry)
	if c.Server != "" {
		last.fallback = false
		if err := last.setServer(c.Server, c.OverridePath); err != nil {
			return nil, fmt.Errorf("server %w", err)
		}
	}
	if err := c.hostFields.apply(&last, base); err != nil {
		return nil, err
	}
	return append(out, last), nil
}

// apply sets what the fields say of an endpoint.
func (f hostFields) apply(e *endpoint, base string) (err error) {
	e.pull, e.resolve = len(f.Capabilities) == 0, len(f.Capabilities) == 0
	for _, c := range f.Capabilities {
		switch strings.ToLower(c) {
		case "pull":
			e.pull = true
		case "resolve":
			e.resolve = true
		case "push", "referrers": // nothing that is done here
		default:
			return fmt.Errorf("capabilities: %q is none; there are pull, resolve, push and referrers", c)
		}
	}
	if e.caFiles, err = files(f.CA, base); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if e.clientPairs, err = pairs(f.Client, base); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	e.skipVerify = f.SkipVerify
	if e.header, err = headers(f.Header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if f.DialTimeout != "" {
		if e.dialTimeout, err = time.ParseDuration(f.DialTimeout); err != nil || e.dialTimeout <= 0 {
			return fmt.Errorf("dial_timeout %q: give a duration such as 5s", f.DialTimeout)
		}
	}
	if e.scheme == "http" && e.ownTLS() {
		// As with containerd: what is said about TLS is used where TLS is spoken.
		e.scheme, e.fallback = "https", true
	}
	return nil
}

// files are one path or a list of them.
func files(v any, base string) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{absolute(v, base)}, nil
	case []any:
		var out []string
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, errors.New("give the path of a file, or a list of such")
			}
			out = append(out, absolute(s, base))
		}
		return out, nil
	}
	return nil, errors.New("give the path of a file, or a list of such")
}

// pairs are a file with certificate and key, a list of such, or a list of pairs
// of a certificate's file and a key's.
func pairs(v any, base string) ([][2]string, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
		if v == nil {
			return nil, nil
		}
	}
	var out [][2]string
	for _, one := range list {
		both, err := files(one, base)
		if err != nil || len(both) == 0 || len(both) > 2 {
			return nil, errors.New("give the path of a file with certificate and key, a list of such, or a list of pairs [certificate, key]")
		}
		out = append(out, [2]string{both[0], both[len(both)-1]})
	}
	return out, nil
}

func headers(values map[string]any) (http.Header, error) {
	out := http.Header{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		list, ok := values[key].([]any)
		if !ok {
			list = []any{values[key]}
		}
		for _, one := range list {
			s, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%q: give a string, or a list of such", key)
			}
			if strings.ContainsAny(key, " :\r\n") || key == "" || strings.ContainsAny(s, "\r\n") {
				return nil, fmt.Errorf("%q: is no header's name, or its value has a line break", key)
			}
			out.Add(key, s)
		}
	}
	return out, nil
}

func absolute(file, base string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(base, file)
}
