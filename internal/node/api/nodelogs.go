package api

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"syscall"
)

// nodeLogs serves the files below the node's log directory, as the kubelet
// serves /var/log: files, and lists of directories.
func (s *Server) nodeLogs(w http.ResponseWriter, r *http.Request) {
	if s.cfg.LogRoot == "" {
		http.Error(w, "logs endpoint is disabled.", http.StatusMethodNotAllowed)
		return
	}
	root, err := os.OpenRoot(s.cfg.LogRoot)
	if err != nil {
		http.Error(w, fmt.Sprintf("the node's log directory cannot be opened: %v", err), http.StatusInternalServerError)
		return
	}
	defer root.Close()
	// What a container printed must not become a page of a browser.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if path.Ext(r.URL.Path) != ".gz" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	http.StripPrefix("/logs/", http.FileServerFS(plainFiles{root})).ServeHTTP(w, r)
}

// plainFiles opens the regular files and directories below a root. A symbolic
// link that leads out of the root cannot be opened (os.Root), and a named pipe
// or a device, which could block or do worse, is not opened for reading.
type plainFiles struct{ root *os.Root }

// Open implements fs.FS.
func (p plainFiles) Open(name string) (fs.File, error) {
	f, err := p.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		// What leads out of the root is absent, for a client.
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
