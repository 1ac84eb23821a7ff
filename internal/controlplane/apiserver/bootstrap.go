package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	flowcontrol "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	schedulingapi "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer/config"
)

// bootstrapWriters is how many objects of one kind are written at once. etcd
// puts concurrent writes into one commit, so they share one wait for the disk.
const bootstrapWriters = 16

const kubernetesService = "kubernetes"

// task is one step of the bootstrap.
type task struct {
	name string
	run  func(ctx context.Context) error
	// hook is the post-start hook of upstream's that would have done the same;
	// ours of that name waits for the task.
	hook string
	done chan struct{}
}

// bootstrap writes what every cluster must contain. It runs before upstream's
// hooks do: most of those poll for these objects, at long intervals, and create
// them one after the other. Each leaves objects as upstream would.
func (s *Server) bootstrap(ctx context.Context) {
	for _, t := range s.tasks {
		go func() {
			begin := time.Now()
			s.retry(ctx, t)
			s.cfg.Stage("bootstrap-"+t.name, time.Since(begin))
			close(t.done)
		}()
	}
}

// retry runs a task until it succeeds or ctx ends.
func (s *Server) retry(ctx context.Context, t *task) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := t.run(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.cfg.Logger.Debug("A step of the bootstrap failed and is tried again", "step", t.name, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

// cachedList asks for a list from the server's cache, which holds what the store
// held when the server started. A list that must be newer than every write
// waits up to a tenth of a second for a sign of progress from the store.
func cachedList() metav1.ListOptions { return metav1.ListOptions{ResourceVersion: "0"} }

// create treats an object that exists already as success.
func create(what string, err error) error {
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("create %s: %w", what, err)
}

// ensurePriorityClasses creates the two system priority classes.
func (s *Server) ensurePriorityClasses(ctx context.Context) error {
	client := s.client.SchedulingV1().PriorityClasses()
	have, err := client.List(ctx, cachedList())
	if err != nil {
		return fmt.Errorf("list PriorityClasses: %w", err)
	}
	known := names(have.Items, func(o *schedulingv1.PriorityClass) string { return o.Name })
	for _, pc := range schedulingapi.SystemPriorityClasses() {
		if known[pc.Name] {
			continue
		}
		_, err := client.Create(ctx, pc, metav1.CreateOptions{})
		if err := create("PriorityClass "+pc.Name, err); err != nil {
			return err
		}
	}
	return nil
}

// ensureNamespaces creates the system's namespaces and that of MetalLB's
// objects, so that manifests with such objects apply as they are.
func (s *Server) ensureNamespaces(ctx context.Context) error {
	client := s.client.CoreV1().Namespaces()
	have, err := client.List(ctx, cachedList())
	if err != nil {
		return fmt.Errorf("list Namespaces: %w", err)
	}
	known := names(have.Items, func(o *corev1.Namespace) string { return o.Name })
	var g errgroup.Group
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, metav1.NamespaceDefault, corev1.NamespaceNodeLease, config.Namespace} {
		if known[name] {
			continue
		}
		g.Go(func() error {
			_, err := client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return create("Namespace "+name, err)
		})
	}
	return g.Wait()
}

// ensureService creates the ServiceCIDR and, once its allocator runs, the
// kubernetes Service.
func (s *Server) ensureService(ctx context.Context) error {
	cidrs := make([]string, 0, len(s.cfg.ServiceCIDRs))
	for _, p := range s.cfg.ServiceCIDRs {
		cidrs = append(cidrs, p.String())
	}
	if _, err := s.client.NetworkingV1().ServiceCIDRs().Get(ctx, defaultservicecidr.DefaultServiceCIDRName, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		_, err = s.client.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: defaultservicecidr.DefaultServiceCIDRName},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
		}, metav1.CreateOptions{})
		if err := create("ServiceCIDR", err); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("get ServiceCIDR: %w", err)
	}

	services := s.client.CoreV1().Services(metav1.NamespaceDefault)
	if _, err := services.Get(ctx, kubernetesService, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	single := corev1.IPFamilyPolicySingleStack
	_, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesService, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"},
		},
		Spec: corev1.ServiceSpec{
			Ports: []corev1.ServicePort{{
				Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt(s.port),
			}},
			ClusterIP:       s.serviceAddress().String(),
			IPFamilyPolicy:  &single,
			SessionAffinity: corev1.ServiceAffinityNone,
			Type:            corev1.ServiceTypeClusterIP,
		},
	}, metav1.CreateOptions{})
	return create("Service kubernetes", err)
}

// serviceAddress is the first address of the Service range, which belongs to
// the API server.
func (s *Server) serviceAddress() netip.Addr { return s.cfg.ServiceCIDRs[0].Masked().Addr().Next() }

// ensureFlowControl creates the default flow schemas and priority levels that
// are missing. Changing existing ones, and removing old ones, is left to
// upstream's hook, which runs afterwards.
func (s *Server) ensureFlowControl(ctx context.Context) error {
	client, opts := s.client.FlowcontrolV1(), metav1.CreateOptions{FieldManager: "api-priority-and-fairness-config-producer-v1"}
	levels, err := client.PriorityLevelConfigurations().List(ctx, cachedList())
	if err != nil {
		return fmt.Errorf("list PriorityLevelConfigurations: %w", err)
	}
	schemas, err := client.FlowSchemas().List(ctx, cachedList())
	if err != nil {
		return fmt.Errorf("list FlowSchemas: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(bootstrapWriters)
	known := names(levels.Items, func(o *flowcontrolv1.PriorityLevelConfiguration) string { return o.Name })
	for _, list := range [][]*flowcontrolv1.PriorityLevelConfiguration{flowcontrol.SuggestedPriorityLevelConfigurations, flowcontrol.MandatoryPriorityLevelConfigurations} {
		for _, o := range list {
			if !known[o.Name] {
				g.Go(func() error {
					_, err := client.PriorityLevelConfigurations().Create(ctx, o.DeepCopy(), opts)
					return create("PriorityLevelConfiguration "+o.Name, err)
				})
			}
		}
	}
	existing := make(map[string]*flowcontrolv1.FlowSchema, len(schemas.Items))
	for i := range schemas.Items {
		existing[schemas.Items[i].Name] = &schemas.Items[i]
	}
	for _, list := range [][]*flowcontrolv1.FlowSchema{{partsFlowSchema()}, flowcontrol.SuggestedFlowSchemas, flowcontrol.MandatoryFlowSchemas} {
		for _, o := range list {
			if existing[o.Name] == nil {
				g.Go(func() error {
					_, err := client.FlowSchemas().Create(ctx, o.DeepCopy(), opts)
					return create("FlowSchema "+o.Name, err)
				})
			}
		}
	}
	if o := existing[partsFlowSchemaName]; o != nil && addSubjects(o, partsFlowSchema()) {
		g.Go(func() error {
			if _, err := client.FlowSchemas().Update(ctx, o, metav1.UpdateOptions{FieldManager: opts.FieldManager}); err != nil {
				return fmt.Errorf("update FlowSchema %s: %w", o.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

const partsFlowSchemaName = "minato-parts"

// partsFlowSchema gives the requests of Minato's own parts the priority level
// that those of kube-proxy and CoreDNS have, which upstream recognises by their
// namespace, so that they do not wait behind those of other clients. Unlike
// upstream's FlowSchemas it has no annotation for automatic updates, so
// upstream's hook does not delete it as a leftover.
func partsFlowSchema() *flowcontrolv1.FlowSchema {
	subjects := make([]flowcontrolv1.Subject, 0, len(access.Users()))
	for _, name := range access.Users() {
		subjects = append(subjects, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: name}})
	}
	return &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: partsFlowSchemaName},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-high"},
			MatchingPrecedence:         900, // the precedence of kube-system-service-accounts
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: subjects,
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: []string{flowcontrolv1.VerbAll}, APIGroups: []string{flowcontrolv1.APIGroupAll}, Resources: []string{flowcontrolv1.ResourceAll},
					ClusterScope: true, Namespaces: []string{flowcontrolv1.NamespaceEvery},
				}},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{flowcontrolv1.VerbAll}, NonResourceURLs: []string{flowcontrolv1.NonResourceAll}}},
			}},
		},
	}
}

// addSubjects adds to a FlowSchema that an earlier version of ours may have
// written the subjects that it lacks, and tells whether it did. As with
// upstream's, one whose annotation apf.kubernetes.io/autoupdate-spec is "false"
// stays as it is.
func addSubjects(have, want *flowcontrolv1.FlowSchema) bool {
	if have.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] == "false" || len(have.Spec.Rules) == 0 {
		return false
	}
	added := false
	for _, subject := range want.Spec.Rules[0].Subjects {
		if !slices.ContainsFunc(have.Spec.Rules, func(r flowcontrolv1.PolicyRulesWithSubjects) bool {
			return slices.ContainsFunc(r.Subjects, func(s flowcontrolv1.Subject) bool { return equality.Semantic.DeepEqual(s, subject) })
		}) {
			have.Spec.Rules[0].Subjects = append(have.Spec.Rules[0].Subjects, subject)
			added = true
		}
	}
	return added
}

// names makes a set of the objects' names.
func names[T any](items []T, name func(*T) string) map[string]bool {
	set := make(map[string]bool, len(items))
	for i := range items {
		set[name(&items[i])] = true
	}
	return set
}

// serviceCIDRController keeps the ServiceCIDR and its status, as upstream's
// hook of the same purpose would.
func (s *Server) serviceCIDRController() (*defaultservicecidr.Controller, error) {
	var ranges [2]net.IPNet
	for i, p := range s.cfg.ServiceCIDRs {
		if i == len(ranges) {
			return nil, errors.New("Config.ServiceCIDRs has more than two ranges")
		}
		_, ipnet, err := net.ParseCIDR(p.String())
		if err != nil {
			return nil, fmt.Errorf("Config.ServiceCIDRs: %w", err)
		}
		ranges[i] = *ipnet
	}
	return defaultservicecidr.NewController(ranges[0], ranges[1], s.client), nil
}
