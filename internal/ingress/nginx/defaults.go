package nginx

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// Defaults are what the settings say about Ingresses' annotations. NewDefaults makes those without any ConfigMap.
type Defaults struct {
	// Prefix is the annotations' prefix; "" is DefaultPrefix (--annotations-prefix).
	Prefix string
	// Minato and Nginx are what Ingresses of the two classes have where no annotation says otherwise.
	Minato, Nginx ClassDefaults
	// CrossNamespace lets annotations name Secrets and ConfigMaps of other namespaces (allow-cross-namespace-resources).
	CrossNamespace bool
	// ResponseHeaders are the names that custom-headers may set, in lower case (global-allowed-response-headers).
	ResponseHeaders []string
	// Blocklist are words that no value may have (annotation-value-word-blocklist).
	Blocklist []string
	// MaxRisk, if not zero, closes Ingresses that have annotations of a higher risk (annotations-risk-level).
	MaxRisk Risk
	// Passthrough lets hosts use ssl-passthrough (--enable-ssl-passthrough).
	Passthrough bool
	// GlobalFault closes the paths of all Ingresses that don't opt out of the global authentication: its URL, or what
	// belongs to it, can't be used.
	GlobalFault string
}

// ClassDefaults are the defaults of a class of Ingresses.
type ClassDefaults struct {
	Location table.Location
	Upstream table.UpstreamOptions
}

// NewDefaults returns ingress-nginx's defaults, and for the class minato those that the Ingress API suggests: no redirect
// to HTTPS, no limit to bodies, which are passed on as they come.
func NewDefaults() *Defaults {
	l := table.Location{
		BodySize: 1 << 20,

		SSLRedirect: true,

		ConnectTimeout:   5 * time.Second,
		ReadTimeout:      60 * time.Second,
		SendTimeout:      60 * time.Second,
		Retry:            table.Retry{Error: true, Timeout: true, Tries: 3},
		RequestBuffering: true,
		RequestBuffer:    8 << 10,
		Buffering:        table.Buffering{HeaderSize: 4 << 10, Buffers: 4, Busy: 8 << 10, MaxTempFile: 1 << 30},
	}
	d := &Defaults{Nginx: ClassDefaults{Location: l}}
	l.BodySize, l.SSLRedirect, l.RequestBuffering = 0, false, false
	d.Minato = ClassDefaults{Location: l}
	return d
}

func (d *Defaults) prefix() string {
	if d.Prefix == "" {
		return DefaultPrefix
	}
	return d.Prefix
}

func (d *Defaults) class(c table.Class) *ClassDefaults {
	if c == table.ClassNginx {
		return &d.Nginx
	}
	return &d.Minato
}

// blocked returns the first word of the block list that a value has.
func (d *Defaults) blocked(value string) string {
	if i := slices.IndexFunc(d.Blocklist, func(w string) bool { return strings.Contains(value, w) }); i >= 0 {
		return d.Blocklist[i]
	}
	return ""
}

// each applies what the settings say to both classes.
func (d *Defaults) each(set func(*ClassDefaults)) {
	set(&d.Minato)
	set(&d.Nginx)
}

// name is a shorthand for a namespaced name.
func name(ns, n string) types.NamespacedName { return types.NamespacedName{Namespace: ns, Name: n} }
