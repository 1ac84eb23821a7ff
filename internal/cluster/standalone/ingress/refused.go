package ingress

import (
	"errors"
	"slices"

	"github.com/spf13/pflag"
)

// refusal is a flag of ingress-nginx's that is not honoured.
type refusal struct {
	name string
	bool bool
	// harmless are values that ask for what is done anyway.
	harmless []string
	remedy   string
}

// refusals are all flags of ingress-nginx 1.15 that Config has not.
func refusals() []refusal {
	const nginxOnly = "it is about nginx, which is not here; remove the flag"
	const buckets = "the buckets are ingress-nginx's defaults; remove the flag"
	const webhook = "nothing here has to be protected from an Ingress, so none is looked at before it is stored; remove the flag, delete the ValidatingWebhookConfiguration, and use `minato ingress check`"
	const maxmind = "there is no GeoIP database; remove the flag, and let something in front of the ingress set such headers"
	return []refusal{
		{name: "certificate-authority", remedy: "name the certificate authority in the kubeconfig"},
		{name: "ingress-class-by-name", bool: true, harmless: []string{"false"}, remedy: "give the IngressClass the controller that --controller-class names"},
		{name: "sync-period", harmless: []string{"0", "0s"}, remedy: "objects are followed by watches, which miss nothing; remove the flag"},
		{name: "sync-rate-limit", remedy: "a change is served at once, and nothing is reloaded; remove the flag"},
		{name: "profiling", bool: true, harmless: []string{"false"}, remedy: "there is no profiler; remove the flag or set it to false"},
		{name: "profiler-port", remedy: "there is no profiler; remove the flag"},
		{name: "profiler-address", remedy: "there is no profiler; remove the flag"},
		{name: "health-check-timeout", remedy: "the health check asks nobody else; remove the flag"},
		{name: "status-update-interval", remedy: "addresses are written when they change; remove the flag"},
		{name: "enable-annotation-validation", bool: true, harmless: []string{"true"}, remedy: "the values of annotations are always checked; remove the flag, and see `minato ingress check`"},
		{name: "deep-inspect", bool: true, harmless: []string{"true"}, remedy: "no text of an Ingress becomes configuration; remove the flag"},
		{name: "enable-ssl-chain-completion", bool: true, harmless: []string{"false"}, remedy: "put the intermediate certificates into the Secret"},
		{name: "metrics-per-undefined-host", bool: true, harmless: []string{"false"}, remedy: "hosts that no Ingress names have no series, for clients choose their number; the access log has them"},
		{name: "report-status-classes", bool: true, harmless: []string{"false"}, remedy: "metrics have the status itself; join classes in the query, as with status=~\"5..\""},
		{name: "time-buckets", remedy: buckets},
		{name: "length-buckets", remedy: buckets},
		{name: "size-buckets", remedy: buckets},
		{name: "bucket-factor", harmless: []string{"0"}, remedy: "there are no native histograms; remove the flag"},
		{name: "max-buckets", remedy: "there are no native histograms; remove the flag"},
		{name: "exclude-socket-metrics", harmless: []string{""}, remedy: "drop them by metric_relabel_configs of Prometheus"},
		{name: "monitor-max-batch-size", remedy: "requests are counted where they are served; remove the flag"},
		{name: "ssl-passthrough-proxy-port", remedy: nginxOnly},
		{name: "default-server-port", remedy: nginxOnly},
		{name: "status-port", remedy: nginxOnly},
		{name: "stream-port", remedy: nginxOnly},
		{name: "internal-logger-address", remedy: nginxOnly},
		{name: "dynamic-configuration-retries", remedy: nginxOnly},
		{name: "validating-webhook", remedy: webhook},
		{name: "validating-webhook-certificate", remedy: webhook},
		{name: "validating-webhook-key", remedy: webhook},
		{name: "disable-full-test", bool: true, remedy: webhook},
		{name: "maxmind-mirror", remedy: maxmind},
		{name: "maxmind-license-key", remedy: maxmind},
		{name: "maxmind-account-id", remedy: maxmind},
		{name: "maxmind-edition-ids", remedy: maxmind},
		{name: "maxmind-retries-count", remedy: maxmind},
		{name: "maxmind-retries-timeout", remedy: maxmind},
	}
}

// addRefused has these flags answered with what to do.
func addRefused(f *pflag.FlagSet) {
	for _, r := range refusals() {
		flag := f.VarPF(&refusedValue{r}, r.name, "", "not honoured")
		flag.Hidden = true
		if r.bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// refusedValue is the value of a flag that is not honoured.
type refusedValue struct{ refusal }

// Set implements pflag.Value.
func (v *refusedValue) Set(value string) error {
	if slices.Contains(v.harmless, value) {
		return nil
	}
	return errors.New(v.remedy)
}

// String implements pflag.Value.
func (v *refusedValue) String() string { return "" }

// Type implements pflag.Value.
func (v *refusedValue) Type() string {
	if v.bool {
		return "bool"
	}
	return "string"
}
