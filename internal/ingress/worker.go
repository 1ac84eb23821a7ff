package ingress

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// worker is the goroutine of Objects' Run.
type worker struct {
	*Objects
	start    func(*single)
	informed bool // the informers have everything
	dirty    map[Key]struct{}
	reads    map[Key]reading
	told     bool // a follower has something to get
	settings settings
}

// settingsUser stands for the settings where it matters who refers to an object.
func settingsUser() Key { return Key{Kind: KindConfigMap} }

// step looks at everything that was noted, and at what that makes necessary.
func (w *worker) step() {
	w.notes.Lock()
	w.dirty, w.reads = w.notes.dirty, w.notes.reads
	w.notes.dirty, w.notes.reads = map[Key]struct{}{}, map[Key]reading{}
	w.notes.Unlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = false
	if w.settings.Settings == nil {
		w.readSettings()
	}
	for len(w.dirty) > 0 {
		round := slices.SortedFunc(maps.Keys(w.dirty), compareKeys)
		for _, k := range round {
			delete(w.dirty, k)
			w.look(k)
		}
	}
	was := w.synced
	w.synced = w.synced || w.informed && len(w.looked) == len(w.singles)
	if w.told || was != w.synced {
		for f := range w.followers {
			poke(f.wake)
		}
	}
}

// again has an object looked at in this step.
func (w *worker) again(k Key) { w.dirty[k] = struct{}{} }

func (w *worker) look(k Key) {
	switch k.Kind {
	case KindClass:
		w.lookAtClass(k)
	case KindIngress:
		w.lookAtIngress(k)
	case KindService:
		w.lookAtService(k)
	case KindSecret, KindConfigMap:
		w.lookAtSingle(k)
	}
}

func (w *worker) lookAtClass(k Key) {
	class, ok := stored[*networkingv1.IngressClass](w.cfg.Classes.Informer(), k)
	changed := false
	if ok {
		changed = w.set(k, class)
	} else {
		changed = w.drop(k)
	}
	if changed {
		w.againIngresses()
	}
}

// lookAtIngress delivers an Ingress of ours once all that it refers to was looked at: until then, what is served is what was.
func (w *worker) lookAtIngress(k Key) {
	ing, ok := stored[*networkingv1.Ingress](w.cfg.Ingresses.Informer(), k)
	var class table.Class
	if ok = ok && w.cfg.Namespaces.serve(k.Namespace); ok {
		class, ok, _ = w.cfg.Options.classOf(ing, w.classes())
	}
	if !ok {
		w.drop(k)
		w.use(k, nil)
		return
	}
	refs := readIngress(ing, class, w.settings.defaults, w).refs
	w.use(k, refs)
	for _, ref := range refs {
		if w.singles[ref] != nil && !w.looked[ref] {
			return
		}
	}
	w.set(k, ing)
	w.want()
}

// want notes that there is something to serve.
func (w *worker) want() {
	if !w.isWanted {
		w.isWanted = true
		close(w.wanted)
	}
}

// use notes what an object refers to, and has what nobody referred to before followed.
func (w *worker) use(user Key, refs []Key) {
	first, last := w.used.set(user, refs)
	for _, k := range first {
		if k.Kind == KindSecret || k.Kind == KindConfigMap {
			s := &single{key: k, client: w.cfg.Client, log: w.log, tell: w.read}
			w.singles[k] = s
			w.start(s)
		}
		if k.Kind == KindService {
			w.again(k)
		}
	}
	for _, k := range last {
		if s := w.singles[k]; s != nil {
			s.stop()
			delete(w.singles, k)
			delete(w.looked, k)
		}
		w.again(k)
	}
}

func (w *worker) lookAtSingle(k Key) {
	if w.singles[k] == nil {
		w.drop(k)
		return
	}
	r, ok := w.reads[k]
	if !ok {
		return
	}
	delete(w.reads, k)
	first := !w.looked[k]
	w.looked[k] = true
	changed := false
	switch {
	case r.err != nil && !first:
		return // it is as it was
	case r.err != nil:
		w.log.Warn("An object that the ingress needs can't be read, which is tried again", "object", k.String(), "error", r.err)
	case r.object == nil:
		changed = w.drop(k)
	default:
		changed = w.set(k, r.object)
	}
	if !first && !changed {
		return
	}
	for _, user := range w.used.users(k) {
		if user == settingsUser() {
			w.readSettings()
			w.againIngresses() // how they are read depends on the settings
			continue
		}
		w.again(user)
	}
}

func (w *worker) againIngresses() {
	for _, obj := range w.cfg.Ingresses.Informer().GetIndexer().List() {
		w.again(metaKey(KindIngress, obj))
	}
}

// readSettings follows the ConfigMaps with settings, and what they refer to.
func (w *worker) readSettings() {
	refs := keysOf(KindConfigMap, w.cfg.Options.settingNames())
	w.settings = w.cfg.Options.readSettings(w)
	w.use(settingsUser(), append(refs, w.settings.refs...))
	if len(w.settings.Streams) > 0 {
		w.want()
	}
}

func (w *worker) lookAtService(k Key) {
	name := k.named()
	service, ok := stored[*corev1.Service](w.cfg.Services.Informer(), k)
	if len(w.used.by[k]) == 0 {
		ok = false
	}
	if ok {
		w.set(k, service)
	} else {
		w.drop(k)
	}
	was, is := w.slices[name], map[string]struct{}{}
	if ok {
		for _, s := range w.sliceObjects(name) {
			w.set(Key{Kind: KindSlice, Namespace: s.Namespace, Name: s.Name}, s)
			is[s.Name] = struct{}{}
		}
	}
	for slice := range was {
		if _, still := is[slice]; !still && !w.ofAnother(name, slice) {
			w.drop(Key{Kind: KindSlice, Namespace: name.Namespace, Name: slice})
		}
	}
	if w.slices[name] = is; len(is) == 0 {
		delete(w.slices, name)
	}
}

// ofAnother tells whether a slice has become one of another Service that is delivered.
func (w *worker) ofAnother(service types.NamespacedName, slice string) bool {
	for other, names := range w.slices {
		if _, has := names[slice]; has && other != service && other.Namespace == service.Namespace {
			return true
		}
	}
	return false
}

// set delivers an object, unless it is as it was.
func (w *worker) set(k Key, o object) bool {
	was := w.items[k]
	if was != nil && was.version == o.GetResourceVersion() && was.version != "" {
		return false
	}
	kept := strip(o)
	if was != nil && same(was.object, kept) {
		was.version = o.GetResourceVersion()
		return false
	}
	w.items[k] = &item{key: k, object: kept, version: o.GetResourceVersion()}
	w.tell(&item{key: k, object: kept}) // which has the packed bytes until all have got it
	w.told = true
	return true
}

// drop delivers that an object is gone, if it was there.
func (w *worker) drop(k Key) bool {
	if w.items[k] == nil {
		return false
	}
	delete(w.items, k)
	w.tell(&item{key: k})
	w.told = true
	return true
}
