package ingress

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

func parse(args ...string) (Config, error) {
	var cfg Config
	f := pflag.NewFlagSet("ingress", pflag.ContinueOnError)
	cfg.AddFlags(f)
	return cfg, f.Parse(args)
}

// flagsOfNginx are all flags of ingress-nginx 1.15 (its pkg/flags/flags.go), without those of its logger.
const flagsOfNginx = `annotations-prefix apiserver-host bucket-factor certificate-authority configmap controller-class deep-inspect
default-backend-service default-server-port default-ssl-certificate disable-catch-all disable-full-test disable-leader-election
disable-svc-external-name disable-sync-events dynamic-configuration-retries election-id election-ttl enable-annotation-validation
enable-metrics enable-ssl-chain-completion enable-ssl-passthrough enable-topology-aware-routing exclude-socket-metrics
health-check-path health-check-timeout healthz-host healthz-port http-port https-port ingress-class ingress-class-by-name
internal-logger-address kubeconfig length-buckets max-buckets maxmind-edition-ids maxmind-license-key maxmind-mirror
maxmind-retries-count maxmind-retries-timeout metrics-per-host metrics-per-undefined-host monitor-max-batch-size
post-shutdown-grace-period profiler-address profiler-port profiling publish-service publish-status-address
report-node-internal-ip-address report-status-classes shutdown-grace-period size-buckets ssl-passthrough-proxy-port status-port
status-update-interval stream-port sync-period sync-rate-limit tcp-services-configmap time-buckets udp-services-configmap
update-status update-status-on-shutdown v validating-webhook validating-webhook-certificate validating-webhook-key
watch-ingress-without-class watch-namespace watch-namespace-selector`

// Each flag is there; who gives one that is not honoured is told so, with the flag's name and a remedy.
func TestEveryFlag(t *testing.T) {
	var cfg Config
	f := pflag.NewFlagSet("ingress", pflag.ContinueOnError)
	cfg.AddFlags(f)
	for _, name := range strings.Fields(flagsOfNginx) {
		if f.Lookup(name) == nil {
			t.Errorf("--%s is neither honoured nor refused", name)
		}
	}
	for _, r := range refusals() {
		if !strings.Contains(" "+strings.Join(strings.Fields(flagsOfNginx), " ")+" ", " "+r.name+" ") && r.name != "maxmind-account-id" {
			t.Errorf("--%s is refused, and no flag of ingress-nginx", r.name)
		}
		for _, value := range r.harmless {
			if _, err := parse("--" + r.name + "=" + value); err != nil {
				t.Errorf("--%s=%s asks for what is done anyway: %v", r.name, value, err)
			}
		}
		args := []string{"--" + r.name + "=7"}
		if r.bool {
			args = []string{"--" + r.name}
			if len(r.harmless) > 0 && r.harmless[0] == "true" {
				args[0] += "=false"
			}
		}
		if _, err := parse(args...); err == nil || !strings.Contains(err.Error(), "--"+r.name) || !strings.Contains(err.Error(), r.remedy) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// What the flags say is what the parts are told.
func TestPlan(t *testing.T) {
	t.Setenv("POD_NAME", "")
	t.Setenv("POD_NAMESPACE", "")
	cfg, err := parse("--node=n1", "--controller-class=example.test/c", "--ingress-class=internal", "--watch-ingress-without-class",
		"--watch-namespace=shop", "--annotations-prefix=example.test", "--disable-catch-all", "--configmap=a/settings",
		"--tcp-services-configmap=a/tcp", "--udp-services-configmap=a/udp", "--default-ssl-certificate=a/cert",
		"--default-backend-service=shop/web", "--publish-status-address=192.0.2.1,2001:db8::1,lb.example.test",
		"--enable-ssl-passthrough", "--disable-svc-external-name", "--http-port=8080", "--election-id=own")
	if err != nil {
		t.Fatal(err)
	}
	p, err := cfg.plan()
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) []types.NamespacedName { return []types.NamespacedName{{Namespace: "a", Name: name}} }
	want := ingress.Options{
		Classes:   table.ClassConfig{Nginx: "example.test/c", Annotation: "internal", WithoutClass: true},
		Namespace: "shop", NoExternalNames: true,
		Flags: nginx.Flags{
			AnnotationsPrefix: "example.test", DefaultBackend: "shop/web", DefaultCertificate: "a/cert", Passthrough: true, NoCatchAll: true,
		},
		Settings: named("settings"), TCP: named("tcp"), UDP: named("udp"),
	}
	if d := cmp.Diff(want, p.options); d != "" {
		t.Error(d)
	}
	addresses := []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}, {Hostname: "lb.example.test"}}
	if d := cmp.Diff(addresses, p.addresses); d != "" {
		t.Error(d)
	}
	if p.lease != (types.NamespacedName{Namespace: "ingress-nginx", Name: "own"}) || p.identity != "n1:8080" {
		t.Errorf("Lease %s of %s", p.lease, p.identity)
	}
	t.Setenv("POD_NAME", "pod")
	t.Setenv("POD_NAMESPACE", "ns")
	if p, err = cfg.plan(); err != nil || p.lease.Namespace != "ns" || p.identity != "pod" {
		t.Errorf("in a Pod: Lease %s of %s, %v", p.lease, p.identity, err)
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Setenv("POD_NAME", "")
	t.Setenv("POD_NAMESPACE", "")
	for args, want := range map[string]string{
		"--http-port=0":                                            "--http-port is 0",
		"--http-port=99 --healthz-port=99":                         "--http-port and --healthz-port are both 99",
		"--health-check-path=healthz":                              "--health-check-path",
		"--health-check-path=/metrics":                             "--health-check-path",
		"--shutdown-grace-period=-1":                               "--shutdown-grace-period",
		"--configmap=settings":                                     `--configmap is "settings": write NAMESPACE/NAME`,
		"--tcp-services-configmap=a/b/c":                           "--tcp-services-configmap",
		"--default-ssl-certificate=/x":                             "--default-ssl-certificate",
		"--publish-service=x":                                      "--publish-service",
		"--watch-namespace=a --default-backend-service=b/web":      "name a Service of that namespace",
		"--watch-namespace=a --watch-namespace-selector=x=y":       "exclude each other",
		"--watch-namespace-selector=a=b=c":                         "--watch-namespace-selector",
		"--publish-service=a/b --publish-status-address=192.0.2.1": "exclude each other",
		"--publish-status-address=not_a_host":                      "not_a_host",
		"--election-id=No":                                         "--election-id",
		"--election-ttl=1s":                                        "--election-ttl",
		"--annotations-prefix=a/b":                                 "--annotations-prefix",
		"--controller-class= --ingress-class=":                     "no Ingress can be of",
	} {
		cfg, err := parse(append(strings.Fields(args), "--node=n1")...)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if _, err := cfg.plan(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	t.Setenv("POD_NAME", "pod")
	cfg, _ := parse("--node=n1")
	if _, err := cfg.plan(); err == nil || !strings.Contains(err.Error(), "POD_NAMESPACE") {
		t.Errorf("half of a Pod: %v", err)
	}
}

// The documentation has every flag that is honoured.
func TestFlagsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/ingress-alone.md")
	if err != nil {
		t.Fatal(err)
	}
	var cfg Config
	f := pflag.NewFlagSet("ingress", pflag.ContinueOnError)
	cfg.AddFlags(f)
	f.VisitAll(func(flag *pflag.Flag) {
		name := "`--" + flag.Name + "`"
		if flag.Name == "v" {
			name = "`-v`"
		}
		if !flag.Hidden && !strings.Contains(string(text), name) {
			t.Errorf("docs/ingress-alone.md does not have %s", name)
		}
	})
}
