package pool

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
)

type scenario struct {
	name     string
	pools    []config.Pool
	services []Service
	want     map[string]want
}

func run(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { check(t, s.pools, s.services, s.want) })
	}
}

func TestWhichPool(t *testing.T) {
	small := pool("a", "10.0.0.1-10.0.0.2")
	run(t, []scenario{
		{
			"first free address, by age", []config.Pool{small},
			[]Service{svc("c"), svc("a"), svc("b")},
			map[string]want{
				"a": allocated("a", "10.0.0.1"), "b": allocated("a", "10.0.0.2"),
				"c": failed("c", NoAvailableIPs, "no available IPs"),
			},
		},
		{
			"age comes before the name, the namespace before the name", []config.Pool{pool("a", "10.0.0.1-10.0.0.9")},
			[]Service{
				svc("a", in("z"), created(2)), svc("b", in("y"), created(2)), svc("c", in("z"), created(1)), svc("d", in("z"), created(2)),
			},
			map[string]want{
				"a": allocated("a", "10.0.0.3"), "b": allocated("a", "10.0.0.2"), "c": allocated("a", "10.0.0.1"), "d": allocated("a", "10.0.0.4"),
			},
		},
		{
			"ranges as written", []config.Pool{pool("a", "10.0.0.9 10.0.0.1-10.0.0.2")},
			[]Service{svc("a"), svc("b")},
			map[string]want{"a": allocated("a", "10.0.0.9"), "b": allocated("a", "10.0.0.1")},
		},
		{
			"pools by name, then the next one", []config.Pool{pool("b", "10.0.1.1"), pool("a", "10.0.2.1")},
			[]Service{svc("a"), svc("b")},
			map[string]want{"a": allocated("a", "10.0.2.1"), "b": allocated("b", "10.0.1.1")},
		},
		{
			"autoAssign false", []config.Pool{pool("a", "10.0.0.1-10.0.0.9", manual)},
			[]Service{svc("a"), svc("b", asksPool("a")), svc("c", asks("10.0.0.7"))},
			map[string]want{
				"a": failed("a", NoSuitablePool, "no suitable pool for ipv4 IPFamily"),
				"b": allocated("a", "10.0.0.1"), "c": allocated("a", "10.0.0.7"),
			},
		},
		{
			"an address asked for isn't given to an older Service", []config.Pool{small},
			[]Service{svc("a"), svc("b", asks("10.0.0.1"))},
			map[string]want{"a": allocated("a", "10.0.0.2"), "b": allocated("a", "10.0.0.1")},
		},
		{
			"no pool at all", nil,
			[]Service{svc("a"), svc("b", asks("10.0.0.1")), svc("c", asksPool("x"))},
			map[string]want{
				"a": failed("a", NoPool, "no available IPs"),
				"b": failed("b", NotAllowed, `["10.0.0.1"] is not allowed in config`),
				"c": failed("c", UnknownPool, `unknown pool "x"`),
			},
		},
		{
			"requests that can't be met", []config.Pool{small, pool("b", "10.0.1.1", allocation(config.Allocation{Namespaces: []string{"other"}}))},
			[]Service{
				svc("a", asks("10.9.9.9")), svc("b", asks("10.0.1.1")), svc("c", asksPool("b")), svc("d", asksPool("z")),
				svc("e", asks("10.0.0.1"), asksPool("b")), svc("f", invalid("invalid spec.loadBalancerIP \"x\"")),
				svc("g", ofFamilies(v6Only), asks("10.0.0.2")), svc("h", ofFamilies(nil)), svc("i", require),
			},
			map[string]want{
				"a": failed("a", NotAllowed, `["10.9.9.9"] is not allowed in config`),
				"b": failed("b", NotCompatible, "pool b not compatible for ip assignment"),
				"c": failed("c", NotCompatible, "pool b not compatible for ip assignment"),
				"d": failed("d", UnknownPool, `unknown pool "z"`),
				"e": failed("e", OtherPool, `requested loadBalancer IP(s) ["10.0.0.1"] is not compatible with requested address pool b`),
				"f": failed("f", InvalidRequest, `invalid spec.loadBalancerIP "x"`),
				"g": failed("g", InvalidRequest, `requested loadBalancer IP(s) ["10.0.0.2"] does not match the ipFamily of the service`),
				"h": failed("h", NoFamily, "the Service has no cluster IP"),
				"i": failed("i", NoFamily, "Service requires dual stack but not enough clusterips: it has only IPv4"),
			},
		},
		{
			"a full pool that is asked for", []config.Pool{pool("a", "10.0.0.1"), pool("b", "10.0.1.1")},
			[]Service{svc("a", asksPool("a")), svc("b", asksPool("a")), svc("c", asksPool("a"), ofFamilies(v6Only))},
			map[string]want{
				"a": allocated("a", "10.0.0.1"),
				"b": failed("b", NoAvailableIPs, "no available IPs in pool a"),
				"c": failed("c", NoAvailableIPs, "no available IPs in pool a for ipv6 IPFamily"),
			},
		},
		{
			"avoidBuggyIPs", []config.Pool{pool("a", "10.0.0.254-10.0.1.1", avoiding)},
			[]Service{svc("a"), svc("b"), svc("c"), svc("d", asks("10.0.0.255"))},
			map[string]want{
				"a": allocated("a", "10.0.0.254"), "b": allocated("a", "10.0.1.1"),
				"c": failed("c", NoAvailableIPs, "no available IPs"),
				"d": failed("d", NotAllowed, `["10.0.0.255"] is not allowed in config`),
			},
		},
		{
			"addresses at both ends of everything", []config.Pool{
				pool("a", "255.255.255.254-255.255.255.255"), pool("b", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
			},
			[]Service{svc("a"), svc("b"), svc("c"), svc("d", ofFamilies(v6Only)), svc("e", ofFamilies(v6Only))},
			map[string]want{
				"a": allocated("a", "255.255.255.254"), "b": allocated("a", "255.255.255.255"),
				"c": failed("c", NoAvailableIPs, "no available IPs"),
				"d": allocated("b", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
				"e": failed("e", NoAvailableIPs, "no available IPs"),
			},
		},
	})
}

func TestServiceAllocation(t *testing.T) {
	nsSelector := []labels.Selector{selector(labels.Set{"team": "a"}), selector(labels.Set{"team": "b"})}
	svcSelector := []labels.Selector{selector(labels.Set{"app": "x"}), selector(labels.Set{"app": "y"})}
	run(t, []scenario{
		{
			"by priority, 0 last, ties by name, pools for all after them", []config.Pool{
				pool("a", "10.0.0.1"), pool("b", "10.0.1.1", allocation(config.Allocation{})),
				pool("z", "10.0.2.1", allocation(config.Allocation{Priority: 10})),
				pool("y", "10.0.3.1", allocation(config.Allocation{Priority: 20})),
				pool("x", "10.0.4.1", allocation(config.Allocation{Priority: 20})),
			},
			[]Service{svc("a"), svc("b"), svc("c"), svc("d"), svc("e"), svc("f")},
			map[string]want{
				"a": allocated("z", "10.0.2.1"), "b": allocated("x", "10.0.4.1"), "c": allocated("y", "10.0.3.1"),
				"d": allocated("b", "10.0.1.1"), "e": allocated("a", "10.0.0.1"), "f": failed("f", NoAvailableIPs, "no available IPs"),
			},
		},
		{
			"autoAssign false holds for them too", []config.Pool{pool("a", "10.0.0.1", manual, allocation(config.Allocation{}))},
			[]Service{svc("a")},
			map[string]want{"a": failed("a", NoSuitablePool, "no suitable pool for ipv4 IPFamily")},
		},
		{
			"namespaces: the list or any selector", []config.Pool{
				pool("a", "10.0.0.1-10.0.0.9", allocation(config.Allocation{Namespaces: []string{"ns"}, NamespaceSelectors: nsSelector})),
			},
			[]Service{svc("a"), svc("b", in("o"), nsLabelled("team", "b")), svc("c", in("o"), nsLabelled("team", "c")), svc("d", in("p"))},
			map[string]want{
				"a": allocated("a", "10.0.0.1"), "b": allocated("a", "10.0.0.2"),
				"c": {reason: Failed, cause: NoSuitablePool, message: `Failed to allocate IP for "o/c": no suitable pool for ipv4 IPFamily`},
				"d": {reason: Failed, cause: NoSuitablePool, message: `Failed to allocate IP for "p/d": no suitable pool for ipv4 IPFamily`},
			},
		},
		{
			"namespace and labels must both match", []config.Pool{
				pool("a", "10.0.0.1-10.0.0.9", allocation(config.Allocation{Namespaces: []string{"ns"}, ServiceSelectors: svcSelector})),
				pool("b", "10.0.1.1-10.0.1.9"),
			},
			[]Service{svc("a", labelled("app", "y")), svc("b", labelled("app", "z")), svc("c", in("o"), labelled("app", "x"))},
			map[string]want{"a": allocated("a", "10.0.0.1"), "b": allocated("b", "10.0.1.1"), "c": allocated("b", "10.0.1.2")},
		},
		{
			"labels that don't match any longer", []config.Pool{
				pool("a", "10.0.0.1", allocation(config.Allocation{ServiceSelectors: svcSelector})), pool("b", "10.0.1.1"),
			},
			[]Service{svc("a", labelled("app", "z"), has("10.0.0.1"))},
			map[string]want{"a": allocated("b", "10.0.1.1").clearing("a", "pool a not compatible for ip assignment")},
		},
	})
}

func TestDefaultPool(t *testing.T) {
	def := pool("default", "10.0.0.1-10.0.0.4", own)
	run(t, []scenario{
		{
			"alone it serves everyone", []config.Pool{def}, []Service{svc("a")},
			map[string]want{"a": allocated("default", "10.0.0.1")},
		},
		{
			"beside another only those who ask, and those who have", []config.Pool{def, pool("z", "10.0.0.2-10.0.0.3")},
			[]Service{
				svc("a"), svc("b", asksPool("default")), svc("c", asks("10.0.0.4")), svc("d", asks("10.0.0.3")),
				svc("e", asksPool("default")), svc("f"),
			},
			map[string]want{
				"a": allocated("z", "10.0.0.2"), "b": allocated("default", "10.0.0.1"), "c": allocated("default", "10.0.0.4"),
				"d": allocated("z", "10.0.0.3"),
				"e": failed("e", NoAvailableIPs, "no available IPs in pool default"), "f": failed("f", NoAvailableIPs, "no available IPs"),
			},
		},
		{
			"who has an address of it keeps it, in the pool that owns it now", []config.Pool{def, pool("z", "10.0.0.2-10.0.0.3")},
			[]Service{svc("a", has("10.0.0.2")), svc("b", has("10.0.0.1"))},
			map[string]want{"a": kept("z", "10.0.0.2"), "b": kept("default", "10.0.0.1")},
		},
		{
			"another pool that is only for those who ask leaves none", []config.Pool{def, pool("z", "10.0.1.1", manual)}, []Service{svc("a")},
			map[string]want{"a": failed("a", NoSuitablePool, "no suitable pool for ipv4 IPFamily")},
		},
	})
}

func TestFamilies(t *testing.T) {
	both := pool("both", "10.0.0.1 fd00::1")
	four, six := pool("four", "10.0.4.1-10.0.4.9"), pool("six", "fd00:6::1-fd00:6::9")
	run(t, []scenario{
		{
			"each its own", []config.Pool{four, six}, []Service{svc("a"), svc("b", ofFamilies(v6Only))},
			map[string]want{"a": allocated("four", "10.0.4.1"), "b": allocated("six", "fd00:6::1")},
		},
		{
			"both from one pool, IPv4 first whatever the primary family", []config.Pool{four, six, pool("zz", "fd00::1-fd00::2 10.0.0.1-10.0.0.2")},
			[]Service{svc("a", ofFamilies(v6First), require), svc("b", ofFamilies(v6First), prefer)},
			map[string]want{"a": allocated("zz", "10.0.0.1 fd00::1"), "b": allocated("zz", "10.0.0.2 fd00::2")},
		},
		{
			"require: no pool has both", []config.Pool{four, six},
			[]Service{svc("a", dual(require)), svc("b", dual(require), asksPool("four"))},
			map[string]want{
				"a": failed("a", NoSuitablePool, "no suitable pool for dual IPFamily"),
				"b": failed("b", NoAvailableIPs, "no available IPs in pool four for dual IPFamily"),
			},
		},
		{
			"require: a pool with one left of one family", []config.Pool{both},
			[]Service{svc("a", has("10.0.0.1")), svc("b", dual(require))},
			map[string]want{"a": kept("both", "10.0.0.1"), "b": failed("b", NoAvailableIPs, "no available IPs")},
		},
		{
			"prefer: the primary family, then the other one", []config.Pool{four, six},
			[]Service{svc("a", dual(prefer)), svc("b", ofFamilies(v6First), prefer)},
			map[string]want{
				"a": allocated("four", "10.0.4.1").lacking("no available IPs in pool four for ipv6 IPFamily"),
				"b": allocated("six", "fd00:6::1").lacking("no available IPs in pool six for ipv4 IPFamily"),
			},
		},
		{
			"prefer: nothing of the primary family", []config.Pool{four}, []Service{svc("a", ofFamilies(v6First), prefer)},
			map[string]want{"a": allocated("four", "10.0.4.1").lacking("no available IPs in pool four for ipv6 IPFamily")},
		},
		{
			"prefer: nothing", []config.Pool{pool("a", "10.0.0.1")}, []Service{svc("a", has("10.0.0.1")), svc("b", dual(prefer))},
			map[string]want{"a": kept("a", "10.0.0.1"), "b": failed("b", NoAvailableIPs, "no available IPs")},
		},
		{
			"prefer: a family that the cluster lacks isn't missed", []config.Pool{both}, []Service{svc("a", prefer)},
			map[string]want{"a": allocated("both", "10.0.0.1")},
		},
		{
			"prefer: the other family later, from the same pool", []config.Pool{both, six}, []Service{svc("a", dual(prefer), has("10.0.0.1"))},
			map[string]want{"a": {addrs: "10.0.0.1 fd00::1", pool: "both", reason: Allocated, message: `Assigned additional IP "fd00::1"`}},
		},
		{
			"prefer: who has nothing comes before a second family", []config.Pool{both},
			[]Service{svc("a", dual(prefer), has("10.0.0.1")), svc("b", ofFamilies(v6Only))},
			map[string]want{
				"a": kept("both", "10.0.0.1").lacking("no available IPs in pool both for ipv6 IPFamily"), "b": allocated("both", "fd00::1"),
			},
		},
		{
			"prefer, with one address asked for: the other one by itself", []config.Pool{pool("a", "10.0.0.1-10.0.0.9 fd00::1-fd00::9")},
			[]Service{svc("a", dual(prefer), asks("10.0.0.5")), svc("b", dual(require), asks("fd00::1"))},
			map[string]want{"a": allocated("a", "10.0.0.5 fd00::2"), "b": allocated("a", "10.0.0.1 fd00::1")},
		},
		{
			"require, with one address asked for and no other one", []config.Pool{four}, []Service{svc("a", dual(require), asks("10.0.4.1"))},
			map[string]want{"a": failed("a", NoAvailableIPs, "no available IPs in pool four for dual IPFamily")},
		},
		{
			"two addresses asked for must be of one pool", []config.Pool{four, six, both},
			[]Service{svc("a", dual(require), asks("10.0.4.1 fd00:6::1")), svc("b", dual(prefer), asks("10.0.0.1 fd00::1"))},
			map[string]want{
				"a": failed("a", NotAllowed, `["10.0.4.1" "fd00:6::1"] is not allowed in config`), "b": allocated("both", "10.0.0.1 fd00::1"),
			},
		},
		{
			"who needs two and asks for one doesn't take what another asks for", []config.Pool{pool("a", "10.0.0.1-10.0.0.9 fd00::1-fd00::9")},
			[]Service{svc("a", dual(require), asks("10.0.0.5")), svc("b", ofFamilies(v6Only), asks("fd00::1"))},
			map[string]want{"a": allocated("a", "10.0.0.5 fd00::2"), "b": allocated("a", "fd00::1")},
		},
		{
			"prefer: the first of several pools with the primary family", []config.Pool{six, four, pool("four2", "10.0.8.1")},
			[]Service{svc("a", dual(prefer)), svc("b", dual(prefer), ofFamilies(v6First))},
			map[string]want{
				"a": allocated("four", "10.0.4.1").lacking("no available IPs in pool four for ipv6 IPFamily"),
				"b": allocated("six", "fd00:6::1").lacking("no available IPs in pool six for ipv4 IPFamily"),
			},
		},
		{
			"SingleStack with two families uses the primary one", []config.Pool{both},
			[]Service{svc("a", ofFamilies(v6First), policy(corev1.IPFamilyPolicySingleStack)), svc("b", ofFamilies(v4First), policy(""))},
			map[string]want{"a": allocated("both", "fd00::1"), "b": allocated("both", "10.0.0.1")},
		},
		{
			"matching pools are asked before others even if they have one family only", []config.Pool{
				both, pool("mine", "10.0.5.1", allocation(config.Allocation{})),
			},
			[]Service{svc("a", dual(prefer)), svc("b", dual(require))},
			map[string]want{
				"a": allocated("mine", "10.0.5.1").lacking("no available IPs in pool mine for ipv6 IPFamily"),
				"b": allocated("both", "10.0.0.1 fd00::1"),
			},
		},
	})
}

func TestSharing(t *testing.T) {
	one := pool("a", "10.0.0.1")
	three := pool("a", "10.0.0.1-10.0.0.3")
	inUse := `can't change sharing key for "ns/b", address also in use by ns/a`
	run(t, []scenario{
		{
			"same key, other port", []config.Pool{one},
			[]Service{svc("a", share("k")), svc("b", share("k"), port(81)), svc("c", share("k"), port(80))},
			map[string]want{
				"a": allocated("a", "10.0.0.1"), "b": allocated("a", "10.0.0.1"), "c": failed("c", NoAvailableIPs, "no available IPs"),
			},
		},
		{
			"TCP and UDP are different ports", []config.Pool{one},
			[]Service{svc("a", share("k")), svc("b", share("k"), func(s *Service) { s.Ports = []Port{{corev1.ProtocolUDP, 80}} })},
			map[string]want{"a": allocated("a", "10.0.0.1"), "b": allocated("a", "10.0.0.1")},
		},
		{
			"the first address that is free or can be shared, upwards", []config.Pool{three},
			[]Service{
				svc("a"), svc("b", has("10.0.0.3"), share("k")), svc("c", share("k"), port(81)), svc("d", share("k"), port(82)),
				svc("e", share("k"), port(81)),
			},
			map[string]want{
				"a": allocated("a", "10.0.0.1"), "b": kept("a", "10.0.0.3"), "c": allocated("a", "10.0.0.2"), "d": allocated("a", "10.0.0.2"),
				"e": allocated("a", "10.0.0.3"),
			},
		},
		{
			"asked for, but the key is another one", []config.Pool{three},
			[]Service{svc("a", share("k"), has("10.0.0.1")), svc("b", share("l"), port(81), asks("10.0.0.1"))},
			map[string]want{"a": kept("a", "10.0.0.1"), "b": failed("b", InUse, inUse)},
		},
		{
			"asked for, no keys", []config.Pool{three}, []Service{svc("a", has("10.0.0.1")), svc("b", port(81), asks("10.0.0.1"))},
			map[string]want{"a": kept("a", "10.0.0.1"), "b": failed("b", InUse, inUse)},
		},
		{
			"asked for, but the port is taken", []config.Pool{three},
			[]Service{svc("a", share("k"), has("10.0.0.1")), svc("b", share("k"), asks("10.0.0.1"))},
			map[string]want{"a": kept("a", "10.0.0.1"), "b": failed("b", PortInUse, `port TCP/80 is already in use on "10.0.0.1"`)},
		},
		{
			"all who are in the way are named, in order", []config.Pool{one},
			[]Service{svc("b", share("k"), port(81), has("10.0.0.1")), svc("a", share("k"), has("10.0.0.1")), svc("c", asks("10.0.0.1"))},
			map[string]want{
				"a": kept("a", "10.0.0.1"), "b": kept("a", "10.0.0.1"),
				"c": failed("c", InUse, `can't change sharing key for "ns/c", address also in use by ns/a,ns/b`),
			},
		},
		{
			"Local never shares with Cluster, not even without a selector", []config.Pool{three},
			[]Service{
				svc("a", share("k"), asks("10.0.0.1")), svc("b", share("k"), port(81), local("x"), asks("10.0.0.1")),
				svc("c", share("k"), port(82), func(s *Service) { s.Local = true }, asks("10.0.0.1")),
			},
			map[string]want{
				"a": allocated("a", "10.0.0.1"), "b": failed("b", InUse, inUse),
				"c": failed("c", InUse, `can't change sharing key for "ns/c", address also in use by ns/a`),
			},
		},
		{
			"two Locals need equal selectors", []config.Pool{one},
			[]Service{
				svc("a", share("k"), local("x")), svc("b", share("k"), port(81), local("x"), asks("10.0.0.1")),
				svc("c", share("k"), port(82), local("y")),
			},
			map[string]want{
				// b asks for the address by its number, so it is served first.
				"a": allocated("a", "10.0.0.1"), "b": allocated("a", "10.0.0.1"), "c": failed("c", NoAvailableIPs, "no available IPs"),
			},
		},
		{
			"a sole owner may change its key", []config.Pool{three}, []Service{svc("a", share("new"), has("10.0.0.2"))},
			map[string]want{"a": kept("a", "10.0.0.2")},
		},
		{
			"of two who can't share any longer the older one keeps the address", []config.Pool{three},
			[]Service{svc("b", share("k"), port(81), has("10.0.0.1")), svc("a", share("l"), has("10.0.0.1"))},
			map[string]want{"a": kept("a", "10.0.0.1"), "b": allocated("a", "10.0.0.2").clearing("b", inUse)},
		},
		{
			"two who share get the same port", []config.Pool{three},
			[]Service{svc("b", share("k"), has("10.0.0.1")), svc("a", share("k"), has("10.0.0.1"))},
			map[string]want{
				"a": kept("a", "10.0.0.1"), "b": allocated("a", "10.0.0.2").clearing("b", `port TCP/80 is already in use on "10.0.0.1"`),
			},
		},
		{
			"in both families", []config.Pool{pool("a", "10.0.0.1 fd00::1")},
			[]Service{svc("a", dual(require), share("k")), svc("b", dual(require), share("k"), port(81)), svc("c", dual(require), share("l"), port(82))},
			map[string]want{
				"a": allocated("a", "10.0.0.1 fd00::1"), "b": allocated("a", "10.0.0.1 fd00::1"), "c": failed("c", NoAvailableIPs, "no available IPs"),
			},
		},
	})
}

func TestChanges(t *testing.T) {
	three, six := pool("a", "10.0.0.1-10.0.0.3"), pool("six", "fd00:6::1-fd00:6::9")
	other := pool("b", "10.0.1.1-10.0.1.3")
	two := pool("two", "10.0.2.1-10.0.2.3 fd00:2::1-fd00:2::3")
	run(t, []scenario{
		{
			"who has an address keeps it, whoever else is older or asks for it", []config.Pool{three},
			[]Service{svc("a"), svc("b", asks("10.0.0.1")), svc("c", has("10.0.0.1"))},
			map[string]want{
				"a": allocated("a", "10.0.0.2"), "c": kept("a", "10.0.0.1"),
				"b": failed("b", InUse, `can't change sharing key for "ns/b", address also in use by ns/c`),
			},
		},
		{
			"an address that no pool has any longer", []config.Pool{three}, []Service{svc("a", has("10.9.0.1"))},
			map[string]want{"a": allocated("a", "10.0.0.1").clearing("a", `["10.9.0.1"] is not allowed in config`)},
		},
		{
			"all pools gone", nil, []Service{svc("a", has("10.0.0.1"))},
			map[string]want{"a": failed("a", NoPool, "no available IPs").clearing("a", `["10.0.0.1"] is not allowed in config`)},
		},
		{
			"another address is asked for", []config.Pool{three}, []Service{svc("a", asks("10.0.0.3"), has("10.0.0.1")), svc("b")},
			map[string]want{
				"a": allocated("a", "10.0.0.3").clearing("a", `["10.0.0.3"] is requested`), "b": allocated("a", "10.0.0.1"),
			},
		},
		{
			"two exchange addresses", []config.Pool{three},
			[]Service{svc("a", asks("10.0.0.2"), has("10.0.0.1")), svc("b", asks("10.0.0.1"), has("10.0.0.2"))},
			map[string]want{
				"a": allocated("a", "10.0.0.2").clearing("a", `["10.0.0.2"] is requested`),
				"b": allocated("a", "10.0.0.1").clearing("b", `["10.0.0.1"] is requested`),
			},
		},
		{
			"another address is asked for that can't be had", []config.Pool{three}, []Service{svc("a", asks("10.0.9.9"), has("10.0.0.1"))},
			map[string]want{
				"a": failed("a", NotAllowed, `["10.0.9.9"] is not allowed in config`).clearing("a", `["10.0.9.9"] is requested`),
			},
		},
		{
			"another pool is asked for", []config.Pool{three, other}, []Service{svc("a", asksPool("b"), has("10.0.0.1"))},
			map[string]want{
				"a": allocated("b", "10.0.1.1").clearing("a", `pool b is requested, and ["10.0.0.1"] is in pool a`),
			},
		},
		{
			"a request that can't be understood costs no address", []config.Pool{three},
			[]Service{svc("a", invalid("invalid metallb.io/loadBalancerIPs: \"x\""), has("10.0.0.2"))},
			map[string]want{"a": {
				addrs: "10.0.0.2", pool: "a", reason: Invalid, cause: InvalidRequest,
				message: `invalid requested loadbalancer IPs: invalid metallb.io/loadBalancerIPs: "x"`,
			}},
		},
		{
			"a pool with precedence appears: nobody moves", []config.Pool{three, pool("z", "10.0.9.1", allocation(config.Allocation{Priority: 1}))},
			[]Service{svc("a", has("10.0.0.2"))}, map[string]want{"a": kept("a", "10.0.0.2")},
		},
		{
			"the second family is dropped: the other address stays", []config.Pool{two}, []Service{svc("a", has("10.0.2.2 fd00:2::2"))},
			map[string]want{"a": kept("two", "10.0.2.2").clearing("a", "the Service has no use for a second address of a family, or for one of a family that isn't its own")},
		},
		{
			"the primary family changes", []config.Pool{two}, []Service{svc("a", ofFamilies(v6Only), has("10.0.2.2"))},
			map[string]want{"a": allocated("two", "fd00:2::1").clearing("a", "the Service has no use for a second address of a family, or for one of a family that isn't its own")},
		},
		{
			"the second family's range goes: the primary address stays", []config.Pool{three, six},
			[]Service{svc("a", dual(prefer), has("10.0.0.2 fd00:9::1"))},
			map[string]want{"a": kept("a", "10.0.0.2").clearing("a", `["fd00:9::1"] is not allowed in config`).lacking("no available IPs in pool a for ipv6 IPFamily")},
		},
		{
			"the primary family's range moves to another pool: it goes there", []config.Pool{three, six},
			[]Service{svc("a", dual(prefer), has("10.9.9.9 fd00:6::1"))},
			map[string]want{"a": allocated("a", "10.0.0.1").clearing("a", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool a for ipv6 IPFamily")},
		},
		{
			"the primary family's range changes in the same pool", []config.Pool{two},
			[]Service{svc("a", dual(prefer), has("10.9.9.9 fd00:2::2"))},
			map[string]want{"a": allocated("two", "10.0.2.1 fd00:2::2").clearing("a", `["10.9.9.9"] is not allowed in config`)},
		},
		{
			"the primary family goes for good: the other address stays the same", []config.Pool{six},
			[]Service{svc("a", dual(prefer), has("10.9.9.9 fd00:6::5"))},
			map[string]want{"a": kept("six", "fd00:6::5").clearing("a", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool six for ipv4 IPFamily")},
		},
		{
			"another address of one family is asked for: that of the other family stays", []config.Pool{two},
			[]Service{svc("a", dual(prefer), asks("10.0.2.3"), has("10.0.2.1 fd00:2::2"))},
			map[string]want{"a": allocated("two", "10.0.2.3 fd00:2::2").clearing("a", `["10.0.2.3"] is requested`)},
		},
		{
			"what is left is not lost to whoever asks for it", []config.Pool{six},
			[]Service{
				svc("a", ofFamilies(v6Only), asks("fd00:6::5")), svc("b", dual(prefer), has("10.9.9.9 fd00:6::5")),
				svc("c", ofFamilies(v6Only), asks("fd00:6::6")), svc("d", dual(prefer), asks("fd00:6::6"), has("10.9.9.9 fd00:6::6")),
			},
			map[string]want{
				"a": failed("a", InUse, `can't change sharing key for "ns/a", address also in use by ns/b`),
				"b": kept("six", "fd00:6::5").clearing("b", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool six for ipv4 IPFamily"),
				"c": failed("c", InUse, `can't change sharing key for "ns/c", address also in use by ns/d`),
				"d": kept("six", "fd00:6::6").clearing("d", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool six for ipv4 IPFamily"),
			},
		},
		{
			"who asks for a pool, or for what it has, doesn't look elsewhere", []config.Pool{three, six},
			[]Service{
				svc("a", ofFamilies(v6Only), asks("fd00:6::5")), svc("b", dual(prefer), asksPool("six"), has("10.9.9.9 fd00:6::5")),
				svc("c", ofFamilies(v6Only), asks("fd00:6::6")), svc("d", dual(prefer), asks("fd00:6::6"), has("10.9.9.9 fd00:6::6")),
			},
			map[string]want{
				"a": failed("a", InUse, `can't change sharing key for "ns/a", address also in use by ns/b`),
				"b": kept("six", "fd00:6::5").clearing("b", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool six for ipv4 IPFamily"),
				"c": failed("c", InUse, `can't change sharing key for "ns/c", address also in use by ns/d`),
				"d": kept("six", "fd00:6::6").clearing("d", `["10.9.9.9"] is not allowed in config`).lacking("no available IPs in pool six for ipv4 IPFamily"),
			},
		},
		{
			"what is given up is there for others", []config.Pool{pool("a", "10.0.0.1-10.0.0.2 fd00::1")},
			[]Service{svc("a", dual(require), has("fd00::1")), svc("b", dual(require), has("10.0.0.1")), svc("c")},
			map[string]want{
				"a": {addrs: "10.0.0.2 fd00::1", pool: "a", reason: Allocated, message: `Assigned additional IP "10.0.0.2"`},
				"b": failed("b", NoAvailableIPs, "no available IPs").clearing("b", "no available IPs in pool a for ipv6 IPFamily"),
				"c": allocated("a", "10.0.0.1"),
			},
		},
		{
			"a port that is given up is there for others", []config.Pool{pool("a", "10.0.0.1-10.0.0.2 fd00::1")},
			[]Service{
				svc("a", dual(require), share("k"), has("fd00::1")), svc("b", dual(require), share("k"), has("10.0.0.1")),
				svc("c", share("k"), port(81), has("10.0.0.1")), svc("d", share("k")),
			},
			map[string]want{
				"a": {addrs: "10.0.0.2 fd00::1", pool: "a", reason: Allocated, message: `Assigned additional IP "10.0.0.2"`},
				"b": failed("b", NoAvailableIPs, "no available IPs").clearing("b", "no available IPs in pool a for ipv6 IPFamily"),
				"c": kept("a", "10.0.0.1"), "d": allocated("a", "10.0.0.1"),
			},
		},
		{
			"dual-stack is required from now on: the same pool", []config.Pool{two}, []Service{svc("a", dual(require), has("10.0.2.3"))},
			map[string]want{"a": {addrs: "10.0.2.3 fd00:2::1", pool: "two", reason: Allocated, message: `Assigned additional IP "fd00:2::1"`}},
		},
		{
			"dual-stack is required from now on: another pool", []config.Pool{three, two},
			[]Service{svc("a", dual(require), has("10.0.0.1")), svc("b")},
			map[string]want{
				"a": allocated("two", "10.0.2.1 fd00:2::1").clearing("a", "no available IPs in pool a for ipv6 IPFamily"), "b": allocated("a", "10.0.0.1"),
			},
		},
		{
			"dual-stack is required from now on: nowhere", []config.Pool{three}, []Service{svc("a", dual(require), has("10.0.0.1"))},
			map[string]want{
				"a": failed("a", NoSuitablePool, "no suitable pool for dual IPFamily").clearing("a", "no available IPs in pool a for ipv6 IPFamily"),
			},
		},
		{
			"two addresses of two pools", []config.Pool{three, six}, []Service{svc("a", dual(prefer), has("10.0.0.1 fd00:6::1"))},
			map[string]want{"a": kept("a", "10.0.0.1").clearing("a", `"10.0.0.1" is in pool a, and "fd00:6::1" in pool six: both must be of one pool`).
				lacking("no available IPs in pool a for ipv6 IPFamily")},
		},
		{
			"what isn't an address, or twice the same", []config.Pool{three},
			[]Service{svc("a", has("::ffff:10.0.0.2 10.0.0.2")), svc("b", has("fe80::1%eth0"))},
			map[string]want{"a": kept("a", "10.0.0.2"), "b": allocated("a", "10.0.0.1")},
		},
	})
}

// Very many may share an address; a message that names them all would be too long for an event.
func TestManyWhoShareAreNotAllNamed(t *testing.T) {
	var services []Service
	for i := range 20 {
		services = append(services, svc("s"+string(rune('a'+i)), share("k"), port(uint16(100+i)), has("10.0.0.1")))
	}
	services = append(services, svc("t", asks("10.0.0.1")))
	d := Allocate([]config.Pool{pool("a", "10.0.0.1")}, services)[services[20].Key]
	want := failed("t", InUse, `can't change sharing key for "ns/t", address also in use by `+
		"ns/sa,ns/sb,ns/sc,ns/sd,ns/se,ns/sf,ns/sg,ns/sh and 12 others")
	if g := got(d); g != want {
		t.Errorf("got %+v\nwant %+v", g, want)
	}
}
