package ingress

import (
	"context"
	"fmt"
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
	maps := c.cfg.Client.CoreV1().ConfigMaps(Namespace)
	if _, err := maps.Get(ctx, madeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
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
	_, err := maps.Create(ctx, &corev1.ConfigMap{
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

// makeService makes the Service through which clients come, if there is none. One that is there is as its users want it.
func (c *Controller) makeService(ctx context.Context) error {
	if _, ok := stored[*corev1.Service](c.cfg.Services.Informer(), keyOf(KindService, c.cfg.Publish)); ok {
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
