package images

import (
	"archive/tar"
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// files are the configuration files, below the name of their layer.
//
//go:embed files
var files embed.FS

// users of the images, as Debian and the official images number them.
const (
	nginxUser = 101
	redisUser = 999
)

func finishBase(k *kitchen, t *tree) error {
	for old, now := range merged {
		if strings.HasPrefix(old, "var/") {
			now = "/" + now
		}
		t.link(old, now)
	}
	for _, d := range []string{"dev", "proc", "sys", "run/lock", "mnt", "opt", "srv", "home", "var/cache", "var/log", "var/lib", "usr/lib64", "etc/ssl"} {
		t.dir(d, 0o755)
	}
	t.dir("root", 0o700)
	t.dir("tmp", 0o1777)
	t.dir("var/tmp", 0o1777)
	// Debian chooses these two with update-alternatives.
	t.link("usr/bin/awk", "mawk")
	t.link("usr/bin/which", "which.debianutils")
	return k.copyFiles(t, "base")
}

// finishWeb joins the authorities' certificates, as update-ca-certificates does.
func finishWeb(_ *kitchen, t *tree) error {
	var names []string
	for name := range t.entries {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") && strings.HasSuffix(name, ".crt") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return errors.New("package ca-certificates holds no certificate")
	}
	sort.Strings(names)
	var bundle []byte
	for _, name := range names {
		pem, err := t.content(name)
		if err != nil {
			return err
		}
		bundle = append(append(bundle, pem...), '\n')
		delete(t.entries, name)
	}
	t.file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle)
	return nil
}

func finishTools(_ *kitchen, t *tree) error {
	t.link("usr/bin/nc", "nc.openbsd")
	return nil
}

func finishNginx(k *kitchen, t *tree) error {
	for _, d := range []string{"sites-available", "sites-enabled", "modules-available", "modules-enabled", "snippets"} {
		for name := range t.entries {
			if name == "etc/nginx/"+d || strings.HasPrefix(name, "etc/nginx/"+d+"/") {
				delete(t.entries, name)
			}
		}
	}
	t.dir("var/lib/nginx", 0o755)
	t.dirOf("var/log/nginx", 0o755, nginxUser)
	t.link("var/log/nginx/access.log", "/dev/stdout")
	t.link("var/log/nginx/error.log", "/dev/stderr")
	return k.copyFiles(t, "nginx")
}

func finishRedis(_ *kitchen, t *tree) error {
	t.dirOf("data", 0o755, redisUser)
	delete(t.entries, "etc/redis/redis.conf") // Debian's, for a daemon of the machine
	return nil
}

// finishBusybox makes a link for every program that busybox says it is.
func finishBusybox(k *kitchen, t *tree) error {
	program, err := t.content("bin/busybox")
	if err != nil {
		return err
	}
	// busybox stands alone: /bin is a directory of its own here.
	delete(t.entries, "usr/bin/busybox")
	applets, err := k.applets(program)
	if err != nil {
		return err
	}
	t.put(executable("bin/busybox"), program)
	for _, applet := range applets {
		if name := "bin/" + applet; t.entries[name] == nil {
			t.link(name, "busybox")
		}
	}
	for _, d := range []string{"dev", "proc", "sys", "run", "home", "var/log", "usr"} {
		t.dir(d, 0o755)
	}
	t.dir("root", 0o700)
	t.dir("tmp", 0o1777)
	t.link("sbin", "bin")
	t.link("usr/bin", "../bin")
	t.link("usr/sbin", "../bin")
	return k.copyFiles(t, "busybox")
}

// applets asks a busybox for the programs that it is.
func (k *kitchen) applets(busybox []byte) ([]string, error) {
	probe := filepath.Join(k.scratch, "busybox")
	if err := os.WriteFile(probe, busybox, 0o755); err != nil {
		return nil, err
	}
	list, err := command(k.ctx, "", probe, "--list")
	return strings.Fields(string(list)), err
}

// finishWhoami adds what the demo writes to.
func finishWhoami(_ *kitchen, t *tree) error {
	t.dir("tmp", 0o1777)
	return nil
}

// copyFiles adds the files kept for a layer.
func (k *kitchen) copyFiles(t *tree, layer string) error {
	root := "files/" + layer
	return fs.WalkDir(files, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: epoch}
		if strings.HasPrefix(name, "bin/") {
			h.Mode = 0o755
		}
		t.put(h, data)
		return nil
	})
}
