package ingress

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"minato/internal/ingress/nginx"
)

// WithOwnClasses adds the IngressClasses of a cluster of our own to objects that have none of these names.
func WithOwnClasses(objects []Change) []Change {
	have := map[Key]bool{}
	for _, c := range objects {
		have[c.Key] = true
	}
	for _, class := range ownClasses() {
		if k := (Key{Kind: KindClass, Name: class.Name}); !have[k] {
			objects = append(objects, Change{Key: k, Object: class})
		}
	}
	return objects
}

// ReadAll reads all Ingresses of a cluster, and by name what they and the settings refer to.
func ReadAll(ctx context.Context, client kubernetes.Interface, o Options) ([]runtime.Object, error) {
	ingresses, err := client.NetworkingV1().Ingresses(o.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Ingresses: %w", err)
	}
	list, err := client.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list IngressClasses: %w", err)
	}
	r := &byName{ctx: ctx, client: client, got: map[Key]object{}}
	var out []runtime.Object
	classes := make([]*networkingv1.IngressClass, 0, len(list.Items))
	for i := range list.Items {
		classes = append(classes, &list.Items[i])
		out = append(out, &list.Items[i])
	}
	set := o.readSettings(r)
	for _, k := range append(keysOf(KindConfigMap, o.settingNames()), set.refs...) {
		r.get(k)
	}
	for i := range ingresses.Items {
		ing := &ingresses.Items[i]
		out = append(out, ing)
		if class, ours, _ := o.classOf(ing, classes); ours {
			for _, k := range readIngress(ing, class, set.defaults, r).refs {
				r.get(k)
			}
		}
	}
	for _, obj := range r.got {
		if obj, ok := obj.(runtime.Object); ok && obj != nil {
			out = append(out, obj)
		}
	}
	return out, r.err
}

// byName reads objects when somebody asks for them, each once.
type byName struct {
	ctx    context.Context
	client kubernetes.Interface
	got    map[Key]object
	err    error // the first that is not that an object does not exist
}

var _ nginx.Objects = (*byName)(nil)

func (r *byName) get(k Key) object {
	if o, asked := r.got[k]; asked || r.err != nil {
		return o
	}
	var o object
	var err error
	switch k.Kind {
	case KindSecret:
		o, err = r.client.CoreV1().Secrets(k.Namespace).Get(r.ctx, k.Name, metav1.GetOptions{})
	case KindConfigMap:
		o, err = r.client.CoreV1().ConfigMaps(k.Namespace).Get(r.ctx, k.Name, metav1.GetOptions{})
	case KindService:
		o, err = r.client.CoreV1().Services(k.Namespace).Get(r.ctx, k.Name, metav1.GetOptions{})
	}
	if err != nil {
		o = nil
		if !apierrors.IsNotFound(err) {
			r.err = fmt.Errorf("read %s: %w", k, err)
		}
	}
	r.got[k] = o
	return o
}

// Secret is part of nginx.Objects, as are ConfigMap and Service.
func (r *byName) Secret(n types.NamespacedName) *corev1.Secret {
	s, _ := r.get(keyOf(KindSecret, n)).(*corev1.Secret)
	return s
}

// ConfigMap is part of nginx.Objects.
func (r *byName) ConfigMap(n types.NamespacedName) *corev1.ConfigMap {
	m, _ := r.get(keyOf(KindConfigMap, n)).(*corev1.ConfigMap)
	return m
}

// Service is part of nginx.Objects.
func (r *byName) Service(n types.NamespacedName) *corev1.Service {
	s, _ := r.get(keyOf(KindService, n)).(*corev1.Service)
	return s
}
