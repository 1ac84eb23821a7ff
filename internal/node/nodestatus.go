package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/inplacepodresize"
	"k8s.io/component-helpers/nodedeclaredfeatures/features/restartallcontainers"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// nodeStatus registers the node and keeps its status.
type nodeStatus struct {
	cfg     *Config
	version *runtimeapi.VersionResponse
	events  record.EventRecorder
	// pressure are the conditions about what the node lacks that are true.
	pressure func() []v1.NodeConditionType
	// inUse lists the volumes that may not be detached; nil is none.
	inUse func() []v1.UniqueVolumeName
	// renewed is called after the Node was made anew, in place of one that was deleted.
	renewed func()
	// devices are the resources of device plugins; nil is none.
	devices func() (capacity, allocatable v1.ResourceList)
	// asked has the status looked at before its time.
	asked chan struct{}
}

func newNodeStatus(cfg *Config, version *runtimeapi.VersionResponse, events record.EventRecorder) *nodeStatus {
	none := func() []v1.NodeConditionType { return nil }
	return &nodeStatus{cfg: cfg, version: version, events: events, pressure: none, asked: make(chan struct{}, 1)}
}

// report has the status written soon. It does not wait.
func (n *nodeStatus) report() {
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

func (n *nodeStatus) ownLabels() map[string]string {
	labels := map[string]string{
		v1.LabelHostname:          n.cfg.Name,
		v1.LabelOSStable:          runtime.GOOS,
		v1.LabelArchStable:        runtime.GOARCH,
		"beta.kubernetes.io/os":   runtime.GOOS,
		"beta.kubernetes.io/arch": runtime.GOARCH,
	}
	for k, v := range n.cfg.Labels {
		labels[k] = v
	}
	return labels
}

// run registers the node, calls registered, and then keeps its status until ctx
// ends.
func (n *nodeStatus) run(ctx context.Context, registered func()) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := n.register(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		n.cfg.Logger.Warn("the agent could not register its node; will try again", "node", n.cfg.Name, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	n.events.Event(n.reference(), v1.EventTypeNormal, "Starting", "Starting kubelet.")
	registered()
	tick := time.NewTicker(conditionPeriod)
	defer tick.Stop()
	for sent := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.asked:
		}
		due := time.Since(sent) >= statusPeriod
		wrote, err := n.refresh(ctx, due)
		if err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("the agent could not write the status of its node; will try again", "node", n.cfg.Name, "error", err)
		}
		if wrote {
			sent = time.Now()
		}
	}
}

// reference names the node in events. As in kubelet's events about nodes, the UID
// is the node's name.
func (n *nodeStatus) reference() *v1.ObjectReference {
	return &v1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.cfg.Name, UID: types.UID(n.cfg.Name)}
}

// register makes the node known with everything about it in one request, or
// brings the Node that exists up to date.
func (n *nodeStatus) register(ctx context.Context) error {
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: n.ownLabels(), Annotations: map[string]string{attachedByController: "true"}},
		Spec:       v1.NodeSpec{ProviderID: n.cfg.ProviderID, Taints: n.cfg.Taints},
	}
	for _, p := range n.cfg.PodCIDRs {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
	}
	if len(node.Spec.PodCIDRs) > 0 {
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	}
	node.Status = n.status(ctx, v1.NodeStatus{})
	_, err := n.cfg.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node: %w", err)
	}
	have, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read node: %w", err)
	}
	if err := n.reconcile(ctx, have, node); err != nil {
		return err
	}
	_, err = n.refresh(ctx, true)
	return err
}

// attachedByController is the annotation that has the attach-detach controller attach
// the node's volumes; it leaves nodes without it alone.
const attachedByController = "volumes.kubernetes.io/controller-managed-attach-detach"

// reconcile brings labels, annotations and spec of a Node that exists up to date. What
// others have added stays.
func (n *nodeStatus) reconcile(ctx context.Context, have, want *v1.Node) error {
	next := have.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	for k, v := range want.Labels {
		next.Labels[k] = v
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	for k, v := range want.Annotations {
		next.Annotations[k] = v
	}
	if len(next.Spec.PodCIDRs) == 0 { // never changed once it is set
		next.Spec.PodCIDR, next.Spec.PodCIDRs = want.Spec.PodCIDR, want.Spec.PodCIDRs
	}
	if next.Spec.ProviderID == "" {
		next.Spec.ProviderID = want.Spec.ProviderID
	}
	if equality.Semantic.DeepEqual(have, next) {
		return nil
	}
	if _, err := n.patch(ctx, have, next); err != nil {
		return fmt.Errorf("update node: %w", err)
	}
	return nil
}

// refresh writes the status if it has changed or is due. It starts from the Node
// as the API server has it, for others write into it too.
func (n *nodeStatus) refresh(ctx context.Context, due bool) (wrote bool, err error) {
	have, err := n.cfg.Client.CoreV1().Nodes().Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// Somebody has deleted the Node of a node that lives.
		if err = n.register(ctx); err == nil && n.renewed != nil {
			n.renewed()
		}
		return true, err
	}
	if err != nil {
		return false, fmt.Errorf("read node: %w", err)
	}
	next := have.DeepCopy()
	next.Status = n.status(ctx, have.Status)
	if !due && !changed(have.Status, next.Status) {
		return false, nil
	}
	if _, err := n.patch(ctx, have, next, "status"); err != nil {
		return false, fmt.Errorf("write node status: %w", err)
	}
	n.tellPressure(have.Status, next.Status)
	return true, nil
}

// tellPressure records events about conditions that have changed, by the
// kubelet's names.
func (n *nodeStatus) tellPressure(before, after v1.NodeStatus) {
	reasons := map[v1.NodeConditionType][2]string{
		v1.NodeMemoryPressure: {"NodeHasSufficientMemory", "NodeHasInsufficientMemory"},
		v1.NodeDiskPressure:   {"NodeHasNoDiskPressure", "NodeHasDiskPressure"},
		v1.NodePIDPressure:    {"NodeHasSufficientPID", "NodeHasInsufficientPID"},
	}
	for _, is := range after.Conditions {
		reason, ok := reasons[is.Type]
		if !ok || !slices.ContainsFunc(before.Conditions, func(was v1.NodeCondition) bool { return was.Type == is.Type && was.Status != is.Status }) {
			continue
		}
		word := reason[0]
		if is.Status == v1.ConditionTrue {
			word = reason[1]
		}
		n.events.Eventf(n.reference(), v1.EventTypeNormal, word, "Node %s status is now: %s", n.cfg.Name, word)
	}
}

// changed compares two statuses but for the times of their conditions.
func changed(a, b v1.NodeStatus) bool {
	strip := func(s v1.NodeStatus) v1.NodeStatus {
		s.Conditions = slices.Clone(s.Conditions)
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		return s
	}
	return !equality.Semantic.DeepEqual(strip(a), strip(b))
}

func (n *nodeStatus) patch(ctx context.Context, have, next *v1.Node, subresources ...string) (*v1.Node, error) {
	before, err := json.Marshal(have)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, v1.Node{})
	if err != nil {
		return nil, err
	}
	return n.cfg.Client.CoreV1().Nodes().Patch(ctx, n.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, subresources...)
}

// status computes the node's status. Fields of others are taken from old.
func (n *nodeStatus) status(ctx context.Context, old v1.NodeStatus) v1.NodeStatus {
	s := *old.DeepCopy()
	s.Addresses = nil
	for _, a := range n.cfg.Addresses {
		s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: a.String()})
	}
	s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: n.cfg.Name})
	n.cfg.setResources(&s, old)
	if n.devices != nil {
		capacity, allocatable := n.devices()
		maps.Copy(s.Capacity, capacity)
		maps.Copy(s.Allocatable, allocatable)
	}
	s.DaemonEndpoints.KubeletEndpoint.Port = int32(n.cfg.APIPort)
	s.NodeInfo = n.info()
	s.DeclaredFeatures = declaredFeatures()
	if s.VolumesInUse = nil; n.inUse != nil {
		s.VolumesInUse = n.inUse()
	}
	now := metav1.Now()
	resp, err := n.cfg.Runtime.Status(ctx, false)
	if s.Images = old.Images; err == nil { // one that does not answer would be waited for again
		s.Images = n.images(ctx, old.Images)
		s.RuntimeHandlers = runtimeHandlers(resp)
	}
	if f := resp.GetFeatures(); f != nil {
		strict := f.GetSupplementalGroupsPolicy()
		s.Features = &v1.NodeFeatures{SupplementalGroupsPolicy: &strict}
	}
	ready, trouble := runtimeReady(resp, err), n.cfg.Trouble()
	if ready == nil && trouble.Runtime != "" {
		ready = errors.New(trouble.Runtime)
	}
	for _, c := range append(pressures(n.pressure()), network(trouble.Network), readiness(ready)) {
		setCondition(&s, c, now)
	}
	return s
}

// runtimeHandlers are what RuntimeClasses may name, as the container runtime
// tells.
func runtimeHandlers(resp *runtimeapi.StatusResponse) []v1.NodeRuntimeHandler {
	var out []v1.NodeRuntimeHandler
	for _, h := range resp.GetRuntimeHandlers() {
		recursive, users := h.GetFeatures().GetRecursiveReadOnlyMounts(), h.GetFeatures().GetUserNamespaces()
		out = append(out, v1.NodeRuntimeHandler{Name: h.GetName(), Features: &v1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: &recursive, UserNamespaces: &users,
		}})
	}
	return out
}

// declaredFeatures are those that the API server asks nodes about (KEP-5328) and
// that this node has, sorted: without the names, it refuses a resize of an init container
// or of a Pod as a whole, and the scheduler sends no Pod here with a rule that has all containers restarted.
func declaredFeatures() []string {
	return []string{
		inplacepodresize.PodLevelResourcesResizeFeature.Name(), inplacepodresize.NonSidecarInitContainerResizeFeature.Name(),
		restartallcontainers.Feature.Name(),
	}
}

// setCondition sets a condition; the time of the last transition stays unless
// this is one.
func setCondition(s *v1.NodeStatus, c v1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i := range s.Conditions {
		if s.Conditions[i].Type != c.Type {
			continue
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		}
		s.Conditions[i] = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

// runtimeReady says what keeps the container runtime from running Pods.
func runtimeReady(resp *runtimeapi.StatusResponse, err error) error {
	if err != nil {
		return fmt.Errorf("container runtime status check failed: %w", err)
	}
	var missing []string
	for _, c := range resp.GetStatus().GetConditions() {
		if !c.Status && (c.Type == "RuntimeReady" || c.Type == "NetworkReady") {
			missing = append(missing, fmt.Sprintf("container runtime is not ready: %s: %s", c.Reason, c.Message))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s", strings.Join(missing, "; "))
	}
	return nil
}

func (n *nodeStatus) info() v1.NodeSystemInfo {
	return v1.NodeSystemInfo{
		Swap:                    swapOf(host.MachineMemory()),
		MachineID:               readLine("/etc/machine-id"),
		SystemUUID:              readLine("/etc/machine-id"),
		BootID:                  readLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:           readLine("/proc/sys/kernel/osrelease"),
		OSImage:                 osImage(),
		ContainerRuntimeVersion: n.version.RuntimeName + "://" + n.version.RuntimeVersion,
		KubeletVersion:          n.cfg.Version,
		OperatingSystem:         runtime.GOOS,
		Architecture:            runtime.GOARCH,
	}
}

// swapOf is what the machine has of swap, which all nodes share: nil without any.
// It tells that there is some, not that Pods may use it.
func swapOf(m host.Memory, err error) *v1.NodeSwapStatus {
	if err != nil || m.Swap == 0 {
		return nil
	}
	return &v1.NodeSwapStatus{Capacity: &m.Swap}
}

// readLine is a file's content, empty where there is no such file.
func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func osImage() string {
	for line := range strings.Lines(readLine("/etc/os-release")) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(name), `"'`)
		}
	}
	return "Linux"
}

// Bounds of the list of images in a node's status.
const (
	maxImages     = 50
	maxImageNames = 5
)

// images lists the largest images of the node.
func (n *nodeStatus) images(ctx context.Context, old []v1.ContainerImage) []v1.ContainerImage {
	all, err := n.cfg.Images.ListImages(ctx, nil)
	if err != nil {
		return old
	}
	var out []v1.ContainerImage
	for _, i := range all {
		names := append(slices.Clone(i.RepoDigests), i.RepoTags...)
		if len(names) == 0 {
			continue
		}
		out = append(out, v1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(i.Size)})
	}
	slices.SortFunc(out, func(a, b v1.ContainerImage) int {
		if c := cmp.Compare(b.SizeBytes, a.SizeBytes); c != 0 {
			return c
		}
		return cmp.Compare(a.Names[0], b.Names[0])
	})
	return out[:min(len(out), maxImages)]
}
