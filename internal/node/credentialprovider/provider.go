package credentialprovider

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	configv1 "k8s.io/kubelet/config/v1"
	pluginv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	"k8s.io/utils/clock"

	"minato/internal/node/credential"
)

// Bounds on one call of a program.
const (
	callTimeout = time.Minute
	maxAnswer   = 4 << 20 // bytes
	maxWords    = 2 << 10 // bytes of its standard error
)

// Accounts asks the API server about service accounts.
type Accounts interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	Token(ctx context.Context, namespace, account string, req *authv1.TokenRequest) (*authv1.TokenRequest, error)
}

// Config is what Providers need.
type Config struct {
	// Path is a CredentialProviderConfig or a directory of such, BinDir has the
	// programs.
	Path, BinDir string
	Accounts     Accounts
	Clock        clock.PassiveClock
}

// Providers are the programs of one configuration.
type Providers struct {
	cfg   Config
	list  []configv1.CredentialProvider
	group singleflight.Group

	mu    sync.Mutex
	cache map[string]cached
}

type cached struct {
	logins  credential.Logins
	expires time.Time
}

// Account is the service account whose token a login was got for.
type Account struct{ Namespace, Name, UID string }

// Found is a login that a provider has for an image.
type Found struct {
	credential.Found
	// Account is nil where the login is the node's, for all Pods.
	Account *Account
}

// New reads the configuration. It calls no program.
func New(cfg Config) (*Providers, error) {
	list, err := load(cfg.Path, cfg.BinDir)
	if err != nil {
		return nil, fmt.Errorf("credential providers: %w", err)
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Providers{cfg: cfg, list: list, cache: map[string]cached{}}, nil
}

// Lookup asks the providers for the logins that a Pod has for an image, named
// without tag and digest. An error says which providers had none for what reason;
// those of the others are returned nevertheless. A nil Providers has none.
func (p *Providers) Lookup(ctx context.Context, pod *corev1.Pod, image string) ([]Found, error) {
	if p == nil {
		return nil, nil
	}
	var all []Found
	var errs []error
	for i := range p.list {
		c := &p.list[i]
		if !slices.ContainsFunc(c.MatchImages, func(key string) bool { return credential.Covers(key, image) }) {
			continue
		}
		logins, account, err := p.ask(ctx, c, pod, image)
		if err != nil {
			errs = append(errs, fmt.Errorf("credential provider %s: %w", c.Name, err))
			continue
		}
		found, err := logins.Match(image)
		errs = append(errs, err)
		for _, f := range found {
			all = append(all, Found{f, account})
		}
	}
	slices.SortStableFunc(all, func(a, b Found) int { return strings.Compare(b.Key, a.Key) })
	return all, errors.Join(errs...)
}

// identity is whom a program is asked for.
type identity struct {
	account     *Account
	token       string
	annotations map[string]string
}

// key tells one identity from another, where the program's answer depends on it.
func (id identity) key(c *configv1.CredentialProvider) string {
	if id.account == nil {
		return ""
	}
	parts := []any{id.account, id.annotations}
	if c.TokenAttributes.CacheType == configv1.TokenServiceAccountTokenCacheType {
		parts = append(parts, sha256.Sum256([]byte(id.token)))
	}
	text, err := json.Marshal(parts) // maps in the order of their keys
	if err != nil {
		return id.account.UID
	}
	return string(text)
}

func (p *Providers) ask(ctx context.Context, c *configv1.CredentialProvider, pod *corev1.Pod, image string) (credential.Logins, *Account, error) {
	id, skip, err := p.identify(ctx, c, pod)
	if err != nil || skip {
		return nil, nil, err
	}
	who := id.key(c)
	if logins, ok := p.cachedFor(c, image, who); ok {
		return logins, id.account, nil
	}
	flight := fmt.Sprintf("%q %q %q %x", c.Name, image, who, sha256.Sum256([]byte(id.token)))
	result := p.group.DoChan(flight, func() (any, error) {
		// It belongs to all who wait for it.
		return p.call(context.WithoutCancel(ctx), c, image, id)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, nil, r.Err
		}
		logins, err := p.keep(c, image, who, id, r.Val.(*pluginv1.CredentialProviderResponse))
		return logins, id.account, err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// identify gets the Pod's token where the provider wants one; skip says that it is
// not asked for this Pod.
func (p *Providers) identify(ctx context.Context, c *configv1.CredentialProvider, pod *corev1.Pod) (id identity, skip bool, err error) {
	a := c.TokenAttributes
	if a == nil {
		return id, false, nil
	}
	if pod.Spec.ServiceAccountName == "" { // a static Pod
		return id, *a.RequireServiceAccount, nil
	}
	account, err := p.cfg.Accounts.ServiceAccount(ctx, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return id, false, err
	}
	id.annotations = map[string]string{}
	for _, key := range a.RequiredServiceAccountAnnotationKeys {
		value, ok := account.Annotations[key]
		if !ok {
			return id, true, nil // as kubelet: it is not for such accounts
		}
		id.annotations[key] = value
	}
	for _, key := range a.OptionalServiceAccountAnnotationKeys {
		if value, ok := account.Annotations[key]; ok {
			id.annotations[key] = value
		}
	}
	req := &authv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{UID: account.UID},
		Spec: authv1.TokenRequestSpec{
			Audiences:      []string{a.ServiceAccountTokenAudience},
			BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}
	got, err := p.cfg.Accounts.Token(ctx, pod.Namespace, account.Name, req)
	if err != nil {
		return id, false, err
	}
	id.account, id.token = &Account{pod.Namespace, account.Name, string(account.UID)}, got.Status.Token
	return id, false, nil
}

// call runs the program of a provider.
func (p *Providers) call(ctx context.Context, c *configv1.CredentialProvider, image string, id identity) (*pluginv1.CredentialProviderResponse, error) {
	request := pluginv1.CredentialProviderRequest{Image: image, ServiceAccountToken: id.token, ServiceAccountAnnotations: id.annotations}
	request.APIVersion, request.Kind = pluginVersion, "CredentialProviderRequest"
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.cfg.BinDir, c.Name), c.Args...)
	cmd.Env = os.Environ()
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	out, words := &bounded{limit: maxAnswer}, &bounded{limit: maxWords}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(in)), out, words
	cmd.WaitDelay = time.Second // what it has started may keep its output open
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not end within %v", callTimeout)
		}
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(words.String()))
	}
	var resp pluginv1.CredentialProviderResponse
	if out.more || json.Unmarshal(out.data, &resp) != nil {
		// The error is not passed on: it may have a password in it.
		return nil, errors.New("its answer is not a CredentialProviderResponse in JSON")
	}
	if resp.APIVersion != pluginVersion || resp.Kind != "CredentialProviderResponse" {
		return nil, fmt.Errorf("its answer has apiVersion %q and kind %q in place of %s and CredentialProviderResponse", resp.APIVersion, resp.Kind, pluginVersion)
	}
	return &resp, nil
}

// bounded takes output and drops what is too much.
type bounded struct {
	data  []byte
	limit int
	more  bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.limit-len(b.data))
	b.data = append(b.data, p[:n]...)
	b.more = b.more || n < len(p)
	return len(p), nil
}

func (b *bounded) String() string { return string(b.data) }

// keep takes the logins of an answer, and keeps them as long as it says.
func (p *Providers) keep(c *configv1.CredentialProvider, image, who string, id identity, resp *pluginv1.CredentialProviderResponse) (credential.Logins, error) {
	logins := credential.Logins{}
	for key, a := range resp.Auth {
		if id.token != "" && a.Password == id.token && c.TokenAttributes.CacheType != configv1.TokenServiceAccountTokenCacheType {
			return nil, errors.New("it returns the service account's token as a password, which needs tokenAttributes.cacheType: Token")
		}
		logins[key] = credential.Login{Username: a.Username, Password: a.Password}
	}
	scope, err := scopeOf(resp.CacheKeyType, image)
	if err != nil {
		return nil, err
	}
	life := c.DefaultCacheDuration.Duration
	if resp.CacheDuration != nil {
		life = resp.CacheDuration.Duration
	}
	if life <= 0 {
		return logins, nil
	}
	now := p.cfg.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, old := range p.cache {
		if now.After(old.expires) {
			delete(p.cache, key)
		}
	}
	p.cache[cacheKey(c, scope, who)] = cached{logins, now.Add(life)}
	return logins, nil
}

// scopeOf is for which images an answer counts.
func scopeOf(kind pluginv1.PluginCacheKeyType, image string) (string, error) {
	switch kind {
	case pluginv1.ImagePluginCacheKeyType:
		return "image " + image, nil
	case pluginv1.RegistryPluginCacheKeyType:
		host, _, _ := strings.Cut(image, "/")
		return "registry " + host, nil
	case pluginv1.GlobalPluginCacheKeyType:
		return "all", nil
	}
	return "", fmt.Errorf("its answer has cacheKeyType %q in place of Image, Registry or Global", kind)
}

func cacheKey(c *configv1.CredentialProvider, scope, who string) string {
	return fmt.Sprintf("%q %q %q", c.Name, scope, who)
}

func (p *Providers) cachedFor(c *configv1.CredentialProvider, image, who string) (credential.Logins, bool) {
	now := p.cfg.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range []pluginv1.PluginCacheKeyType{pluginv1.ImagePluginCacheKeyType, pluginv1.RegistryPluginCacheKeyType, pluginv1.GlobalPluginCacheKeyType} {
		scope, _ := scopeOf(kind, image)
		if have, ok := p.cache[cacheKey(c, scope, who)]; ok && !now.After(have.expires) {
			return have.logins, true
		}
	}
	return nil, false
}
