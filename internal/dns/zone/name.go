package zone

import (
	"net/netip"
	"strings"
)

// foldKey is a DNS name, or a part of one, compared without regard to ASCII case.
type foldKey string

func (k foldKey) hash() uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(k); i++ {
		h = (h ^ uint64(lower(k[i]))) * 1099511628211
	}
	return h
}

func (k foldKey) equal(o foldKey) bool { return equalFold(string(k), string(o)) }

// addrKey is an IP address as a key of the reverse table.
type addrKey netip.Addr

func (k addrKey) hash() uint64 {
	h := uint64(14695981039346656037)
	b := netip.Addr(k).As16()
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func (k addrKey) equal(o addrKey) bool { return k == o }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold folds ASCII only, as DNS does; strings.EqualFold would also equate
// letters such as the Kelvin sign with their ASCII look-alikes.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// cutZone returns the part of name left of zone ("" for the zone itself) and
// whether name lies in zone. Both are absolute; zone is not the root.
func cutZone(name, zone string) (rel string, in bool) {
	at := len(name) - len(zone)
	if at < 0 || !equalFold(name[at:], zone) {
		return "", false
	}
	if at == 0 {
		return "", true
	}
	// An escaped dot belongs to a label: `a\.cluster.local.` is not in cluster.local.
	if name[at-1] != '.' || escaped(name, at-1) {
		return "", false
	}
	return name[:at-1], true
}

// escaped reports whether the character at i is preceded by an odd number of backslashes.
func escaped(s string, i int) bool {
	n := 0
	for i--; i >= 0 && s[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// nameKind is the form of the schema that a name has. It does not say whether the
// name exists.
type nameKind uint8

const (
	kindUnknown   nameKind = iota
	kindApex               // <zone>
	kindVersion            // dns-version.<zone>
	kindNSParent           // dns.<zone>: exists only because ns.dns.<zone> does
	kindNS                 // ns.dns.<zone>, the name in the SOA and NS records
	kindBranch             // svc.<zone>, pod.<zone>
	kindNamespace          // <ns>.svc.<zone>, <ns>.pod.<zone>
	kindPod                // <dashed-ip>.<ns>.pod.<zone>
	kindService            // <svc>.<ns>.svc.<zone>
	kindEndpoint           // <host>.<svc>.<ns>.svc.<zone>
	kindProtocol           // _<proto>.<svc>.<ns>.svc.<zone>: exists only because a port's name does
	kindPort               // _<port>._<proto>.<svc>.<ns>.svc.<zone>
)

// parsedName is a name of the zone, split into its parts. Its strings point into
// the question's name and keep its upper and lower case.
type parsedName struct {
	kind      nameKind
	namespace string
	service   string // "<svc>.<ns>", the key of the service table
	label     string // endpoint host, Pod's dashed address or port, without "_"
	proto     string // without "_"
}

// parseName splits rel, the part of a name left of the zone's domain.
func parseName(rel string) parsedName {
	if rel == "" {
		return parsedName{kind: kindApex}
	}
	if strings.IndexByte(rel, '\\') >= 0 {
		return parsedName{} // no Kubernetes name needs escaping
	}
	rest, branch := cutLast(rel)
	switch {
	case equalFold(branch, "svc"):
		return parseServiceName(rest)
	case equalFold(branch, "pod"):
		return parsePodName(rest)
	case equalFold(rel, "dns-version"):
		return parsedName{kind: kindVersion}
	case equalFold(rel, "ns.dns"):
		return parsedName{kind: kindNS}
	case equalFold(rel, "dns"):
		return parsedName{kind: kindNSParent}
	}
	return parsedName{}
}

func parsePodName(rel string) parsedName {
	if rel == "" {
		return parsedName{kind: kindBranch}
	}
	rest, namespace := cutLast(rel)
	switch {
	case rest == "":
		return parsedName{kind: kindNamespace, namespace: namespace}
	case strings.IndexByte(rest, '.') < 0:
		return parsedName{kind: kindPod, namespace: namespace, label: rest}
	}
	return parsedName{}
}

func parseServiceName(rel string) parsedName {
	if rel == "" {
		return parsedName{kind: kindBranch}
	}
	rest, namespace := cutLast(rel)
	if rest == "" {
		return parsedName{kind: kindNamespace, namespace: namespace}
	}
	rest, service := cutLast(rest)
	p := parsedName{
		kind:      kindService,
		namespace: namespace,
		service:   rel[len(rel)-len(namespace)-1-len(service):],
	}
	if rest == "" {
		return p
	}
	front, last := cutLast(rest)
	switch {
	case front == "" && !strings.HasPrefix(last, "_"):
		p.kind, p.label = kindEndpoint, last
	case front == "":
		p.kind, p.proto = kindProtocol, last[1:]
	case strings.IndexByte(front, '.') < 0 && strings.HasPrefix(front, "_") && strings.HasPrefix(last, "_"):
		p.kind, p.label, p.proto = kindPort, front[1:], last[1:]
	default:
		return parsedName{}
	}
	return p
}

// cutLast splits off the last label.
func cutLast(s string) (rest, last string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

// podAddr reads the address in a Pod's name: 10-244-1-7 or fd00--7.
func podAddr(label string) (netip.Addr, bool) {
	if len(label) > 45 {
		return netip.Addr{}, false
	}
	sep := byte(':')
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		sep = '.'
	}
	var buf [45]byte
	for i := 0; i < len(label); i++ {
		c := label[i]
		switch {
		case c == '-':
			c = sep
		case c == '.' || c == ':' || c == '%':
			return netip.Addr{}, false // only the dashed form is a Pod's name
		}
		buf[i] = c
	}
	addr, err := netip.ParseAddr(string(buf[:len(label)]))
	return addr, err == nil
}

// dashed is the label of an endpoint that has no hostname.
func dashed(addr netip.Addr) string {
	if addr.Is4() {
		return strings.ReplaceAll(addr.String(), ".", "-")
	}
	return strings.ReplaceAll(addr.String(), ":", "-")
}
