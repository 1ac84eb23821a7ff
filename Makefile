# Minato's tasks. `make` alone prints them.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath
GO       ?= go
BIN      := bin/minato
IMAGES   := build/images
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE     ?= $(shell date -u +%Y-%m-%dT%H:%M:%SZ)
V        := minato/internal/version
LDFLAGS  := -s -w -X $(V).version=$(VERSION) -X $(V).commit=$(COMMIT) -X $(V).date=$(DATE)
# Upstream's components report the version that they were built as.
K8S      := v1.36.3
LDFLAGS  += -X k8s.io/component-base/version.gitVersion=$(K8S) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/component-base/version.buildDate=$(DATE)
LDFLAGS  += -X k8s.io/client-go/pkg/version.gitVersion=$(K8S)

.PHONY: help articles picture build demo test test-unit test-race test-e2e test-churn test-churn-pods test-churn-nodes images csi-images csi-sanity test-csi lint generate bench-start bench-service bench-programming kube-proxy bench-dns bench-failover bench-pods bench-nodes bench-image metallb bench-ingress bench-ingress-propagation ingress-peers conformance conformance-ingress h2spec critest compare-dns dns-servers test-dns-outage deps deps-test clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/minato
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/minato

demo: deps build ## start a three-node cluster, deploy an application and send it requests (as root)
	$(GO) run ./test/images/build -out $(IMAGES) whoami
	demo/demo.sh $(BIN) $(IMAGES)

test: deps-test build images lint test-unit test-e2e ## run every test (as root)

test-unit: ## run the tests of the packages (as root, for those that need the kernel)
	$(GO) test ./cmd/... ./internal/... ./demo/... ./test/conformance ./test/conformance-ingress ./test/fields ./test/identities ./test/images/... ./test/podchurn ./test/rules ./test/stock

# What runs on nodes; the race detector needs a C compiler.
RACE := ./internal/dns/... ./internal/host ./internal/ingress/... ./internal/loadbalancer/... ./internal/node/... ./internal/podnet ./internal/runtime/... ./internal/service/...

test-race: ## run the tests of what runs on nodes under the race detector (as root; needs gcc)
	CGO_ENABLED=1 nice -n 10 $(GO) test -race $(RACE) ./test/images/demo/...

test-e2e: build images ## drive real clusters, and the parts that run alone (as root)
	MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) $(GO) test -count=1 -p 1 -timeout 75m ./test/e2e ./test/proxy ./test/loadbalancer ./test/ingress

# What to run: SKIP takes specs away, PROCS run side by side but for serial ones; ARGS=-real-images pulls the real images.
FOCUS ?= \[Conformance\]
SKIP  ?=
PROCS ?= 4
ARGS  ?=

conformance: deps-test build ## run specs of Kubernetes' own suite: FOCUS=PATTERN SKIP=PATTERN (as root; builds the suite first)
	$(GO) run ./test/conformance -minato $(BIN) -focus '$(FOCUS)' -skip '$(SKIP)' -procs $(PROCS) $(ARGS)

# A directory that has the suite, where its module cannot be downloaded.
SUITE ?=

conformance-ingress: deps-test build ## run the suite of kubernetes-sigs/ingress-controller-conformance: SUITE=DIR (as root)
	$(GO) run ./test/conformance-ingress -minato $(BIN) -suite '$(SUITE)'

h2spec: ## run the suite h2spec against the Ingress's HTTP/2 (builds the suite first)
	cd test/h2spec/suite && $(GO) build -o $(CURDIR)/build/h2spec github.com/summerwind/h2spec/cmd/h2spec
	$(GO) run ./test/h2spec -suite build/h2spec

critest: deps build ## run the CRI's validation suite against a node's runtime: ARGS=-focus=PATTERN (as root; builds the suite first)
	cd test/critest/suite && $(GO) build -o $(CURDIR)/build/critest/crictl sigs.k8s.io/cri-tools/cmd/crictl && \
		$(GO) test -c -o $(CURDIR)/build/critest/critest sigs.k8s.io/cri-tools/cmd/critest
	$(GO) run ./test/images/build -validation -out $(IMAGES)
	$(GO) run ./test/critest -minato $(BIN) -images $(IMAGES) $(ARGS)
	PATH=$(CURDIR)/build/critest:$$PATH MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) $(GO) test -count=1 -timeout 10m -run '^TestScripts$$/^crictl$$' ./test/e2e

picture: deps build ## record `make demo` as docs/demo.svg, and delete its cluster (as root)
	$(GO) run ./test/images/build -out $(IMAGES) whoami
	$(GO) run ./demo/record -out docs/demo.svg -title 'make demo' -lines 44 -- demo/demo.sh $(BIN) $(IMAGES)
	$(BIN) delete

articles: build images ## type what the five articles show, on clusters of their own; a transcript with times goes to build/articles.txt (as root)
	TRANSCRIPT=$(CURDIR)/build/articles.txt MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) $(GO) test -count=1 -timeout 40m -run '^TestScripts$$/^articles$$' ./test/e2e

test-churn-pods: build images ## make and end Pods in waves (PODS=10000 WAVE=40 NODES=2 KILL_EVERY=5 LAN_CIDR=… POD_CIDR=… SERVICE_CIDR=…): nothing is left (as root)
	MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) $(GO) test -count=1 -timeout 6h -v -run TestPodsComeAndGo ./test/podchurn

test-churn-nodes: build ## add and remove a node 500 times, make and delete a cluster 50 times, kill the server during 500 writes (TIMES, STARTS, WRITES): nothing is left or lost (as root)
	MINATO=$(CURDIR)/$(BIN) $(GO) test -count=1 -timeout 3h -v -run 'TestNodesComeAndGo|TestStartsAndDeletes|TestWritesOutliveTheServer' ./test/podchurn

test-churn: build images ## replace a Service's Pods for two minutes under load: no request fails (as root)
	MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) MINATO_CHURN=2m $(GO) test -count=1 -timeout 10m -v -run 'Scripts/churn$$' ./test/e2e

csi-images: images ## make the images of what stands beside a CSI driver, from upstream's modules (minutes, half a gigabyte)
	$(GO) run ./test/images/build -out $(IMAGES) -sidecars

test-csi: build csi-images ## provision, clone, grow and delete volumes of a CSI driver with upstream's sidecars (as root)
	MINATO=$(CURDIR)/$(BIN) IMAGES=$(CURDIR)/$(IMAGES) $(GO) test -count=1 -timeout 15m -run '^TestScripts$$/^csi$$' ./test/e2e

csi-sanity: ## run csi-sanity, the interface's own suite, against the tests' CSI driver (as root; builds the suite first)
	cd test/csi/sanity/suite && $(GO) build -o $(CURDIR)/build/csi/csi-sanity github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity
	CGO_ENABLED=0 $(GO) build -o build/csi/driver ./test/csi/driver
	$(GO) run ./test/csi/sanity

images: ## make the images that the tests use, from Debian packages
	$(GO) run ./test/images/build -out $(IMAGES)

lint: ## check formatting, vet, and run golangci-lint where it is installed
	@test -z "$$(gofmt -l cmd demo internal test bench)" || { gofmt -l cmd demo internal test bench; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./cmd/... ./demo/... ./internal/... ./test/... ./bench/...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; fi

generate: ## compile the eBPF programs (needs clang)
	$(GO) generate ./internal/...

bench-start: build images ## measure a cold start, stage by stage, and idle memory (as root)
	$(GO) run ./bench/start -minato $(BIN) -images $(IMAGES) -out build/bench/start.json

bench-nodes: build ## measure what nodes cost, up to a hundred of them: time, memory, idle processor time (as root; 6 minutes)
	$(GO) run ./bench/nodes -minato $(BIN) -out build/bench/nodes.json

bench-pods: build images ## measure the life of Pods: single ones and hundreds at once, memory, idle processor time, beside containerd (as root; 15 minutes)
	scripts/deps.sh bench-containerd
	$(GO) run ./bench/pods -minato $(BIN) -images $(IMAGES) -out build/bench/pods.json

bench-image: build ## measure loads and pulls of an image of 1 GB, beside Debian's containerd (as root; 10 minutes, 3 GB of disk)
	scripts/deps.sh bench-containerd
	$(GO) run ./bench/image -minato $(BIN) -out build/bench/image.json

bench-service: build kube-proxy ## measure what Services cost, compared with no proxy and with kube-proxy (as root; 12 minutes)
	scripts/deps.sh bench
	$(GO) run ./bench/service -minato $(BIN) -kube-proxy build/bench/kube-proxy -out build/bench/service.json

bench-programming: build kube-proxy ## measure how soon changes take effect, compared with kube-proxy (as root; 8 minutes)
	scripts/deps.sh bench
	$(GO) run ./bench/programming -minato $(BIN) -kube-proxy build/bench/kube-proxy -out build/bench/programming.json

kube-proxy: # that the benchmarks compare with
	cd bench/kubeproxy && $(GO) build -o $(CURDIR)/build/bench/kube-proxy .

bench-dns: dns-servers ## measure the DNS server beside CoreDNS, turn by turn (installs dnsperf; 8 minutes)
	scripts/deps.sh bench
	$(GO) run ./bench/dns -minato bin/minato-dns -coredns build/bench/coredns -out build/bench/dns.json

compare-dns: dns-servers ## ask the DNS server and CoreDNS the same about one stock API server; fails where they differ
	$(GO) run ./bench/dns -compare -minato bin/minato-dns -coredns build/bench/coredns

POLICY ?= Cluster
bench-failover: build images metallb ## measure load balancers beside MetalLB: a node's loss, 2,000 Services (as root; 40 minutes; POLICY=Local for that traffic policy)
	scripts/deps.sh bench
	$(GO) run ./bench/failover -minato $(BIN) -images $(IMAGES) -metallb build/bench/metallb -policy $(POLICY) -out build/bench/failover$(if $(filter-out Cluster,$(POLICY)),-$(POLICY)).json

bench-ingress: ingress-peers ## measure the data path of the Ingress beside nginx, HAProxy, Traefik and Caddy (as root; 9 minutes)
	scripts/deps.sh bench-ingress
	$(GO) build -o build/bench/ingress ./bench/ingress
	build/bench/ingress -out build/bench/ingress.json

bench-ingress-propagation: build ## measure how soon the proxies follow an edit, and their memory, with up to 10,000 routes (as root; 3 minutes)
	$(GO) run ./bench/ingresspropagation -minato $(BIN) -out build/bench/ingress-propagation.json

ingress-peers: # that the benchmark compares with; those that cannot be built are left out of it
	-cd bench/ingress/caddy && $(GO) build -o $(CURDIR)/build/bench/caddy github.com/caddyserver/caddy/v2/cmd/caddy
	-bench/ingress/traefik/modules.sh $(CURDIR)/build/bench/traefik-modules && cd bench/ingress/traefik && \
		$(GO) build -o $(CURDIR)/build/bench/traefik github.com/traefik/traefik/v3/cmd/traefik

metallb: # that the benchmark compares with
	cd bench/failover/metallb && $(GO) build -o $(CURDIR)/build/bench/metallb/ go.universe.tf/metallb/controller go.universe.tf/metallb/speaker

dns-servers: # the DNS server and CoreDNS, as programs of their own
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/minato-dns ./cmd/minato-dns
	cd bench/dns/coredns && $(GO) build -o $(CURDIR)/build/bench/coredns .

test-dns-outage: ## stop the DNS server's API server for a minute, and change 10,000 Services at once
	MINATO_DNS_OUTAGE=60s MINATO_DNS_BURST=10000 $(GO) test -count=1 -v -timeout 20m -run TestWithAPIServer ./cmd/minato-dns

deps: # what running Minato needs, from the distribution
	scripts/deps.sh run

deps-test: # what the tests need besides
	scripts/deps.sh run test

clean: ## remove what was built
	rm -rf bin build
