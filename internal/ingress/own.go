package ingress

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"minato/internal/ingress/table"
)

// madeName is the ConfigMap that remembers that the IngressClasses were made: one that somebody has deleted stays away.
const madeName = Name + "-classes"

// makeClasses makes the IngressClasses once in a cluster's life.
func (c *Controller) makeClasses(ctx context.Context) {
	pause := firstWrite
	for ctx.Err() == nil {
		err := c.makeClassesNow(ctx)
		if err == nil {
			return
		}
		if pause == lastWrite && ctx.Err() == nil {
			c.log.Warn("The IngressClasses could not be made, which is tried again", "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, lastWrite)
	}
}

func (c *Controller) makeClassesNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	configMaps := c.cfg.Client.CoreV1().ConfigMaps(Namespace)
	if _, err := configMaps.Get(ctx, madeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		if err != nil {
			return fmt.Errorf("read ConfigMap %s/%s: %w", Namespace, madeName, err)
		}
		return nil
	}
	for _, class := range ownClasses() {
		_, err := c.cfg.Client.NetworkingV1().IngressClasses().Create(ctx, class, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create IngressClass %s: %w", class.Name, err)
		}
	}
	_, err := configMaps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: madeName},
		Data:       map[string]string{"made": ClassMinato + "," + ClassNginx},
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ConfigMap %s/%s: %w", Namespace, madeName, err)
	}
	return nil
}

// ownClasses are the IngressClasses of a new cluster. The first is the default one.
func ownClasses() []*networkingv1.IngressClass {
	class := func(name, controller string) *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	}
	out := []*networkingv1.IngressClass{class(ClassMinato, table.ControllerMinato), class(ClassNginx, table.ControllerNginx)}
	out[0].Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	return out
}

// makeService makes the Service through which clients come, if there is none and somebody wants it. One that is there is as its users want it, but
// for the ports of streams.
func (c *Controller) makeService(ctx context.Context, wanted bool) error {
	if s, ok := stored[*corev1.Service](c.cfg.Services.Informer(), keyOf(KindService, c.cfg.Publish)); ok {
		return c.keepStreams(ctx, s)
	}
	if !wanted && len(c.slices()) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := c.cfg.Client.CoreV1().Services(c.cfg.Publish.Namespace).Create(ctx, c.ownService(), metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		c.everything()
		return fmt.Errorf("create Service %s: %w", c.cfg.Publish, err)
	}
	return nil
}

// keepStreams gives the Service the ports of the streams that proxies serve, and takes those away that none does.
func (c *Controller) keepStreams(ctx context.Context, s *corev1.Service) error {
	served := map[string]bool{}
	for _, slice := range c.slices() {
		for _, p := range slice.Ports {
			if p.Name != nil {
				if _, _, ok := parseStreamName(*p.Name); ok {
					served[*p.Name] = true
				}
			}
		}
	}
	var ports []corev1.ServicePort
	for _, p := range s.Spec.Ports {
		if _, _, ours := parseStreamName(p.Name); !ours || served[p.Name] {
			ports = append(ports, p)
			delete(served, p.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		udp, port, _ := parseStreamName(name)
		taken := func(p corev1.ServicePort) bool { return p.Port == int32(port) && p.Protocol == protocolOf(udp) }
		if slices.ContainsFunc(ports, taken) {
			continue // it is a port that a user has given the Service
		}
		ports = append(ports, corev1.ServicePort{Name: name, Port: int32(port), TargetPort: intstr.FromInt32(int32(port)), Protocol: protocolOf(udp)})
	}
	if len(ports) == len(s.Spec.Ports) && !slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return !slices.Contains(s.Spec.Ports, p) }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	updated := s.DeepCopy()
	updated.Spec.Ports = ports
	if _, err := c.cfg.Client.CoreV1().Services(s.Namespace).Update(ctx, updated, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsConflict(err) {
		c.everything()
		return fmt.Errorf("write the ports of Service %s: %w", c.cfg.Publish, err)
	}
	return nil // after a conflict, the informer tells what it is like now
}

func (c *Controller) ownService() *corev1.Service {
	port := func(name string, port, target int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: port, TargetPort: intstr.FromInt32(target), Protocol: corev1.ProtocolTCP}
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.cfg.Publish.Namespace, Name: c.cfg.Publish.Name,
			Labels: map[string]string{"app.kubernetes.io/name": Name, "app.kubernetes.io/managed-by": "minato"},
		},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeLoadBalancer,
			IPFamilyPolicy:        new(corev1.IPFamilyPolicyPreferDualStack),
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, // the proxies see the clients' addresses
			TrafficDistribution:   new(corev1.ServiceTrafficDistributionPreferSameNode),
			Ports:                 []corev1.ServicePort{port(socketHTTP, 80, HTTPPort), port(socketHTTPS, 443, HTTPSPort)},
		},
	}
}
