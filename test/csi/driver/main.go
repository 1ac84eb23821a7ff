// Command driver is a CSI driver for tests, whose volumes are directories and, for
// volumeMode Block, files behind loop devices, of one node. It does what a driver may
// do: it provisions, clones, restores, attaches, stages, publishes, grows and tells what
// a volume takes, registers with the node by itself, and can be told to hang.
//
// It keeps everything in -data and refuses what contradicts it, so that a test sees
// what was not undone. With -proxy-endpoint it is no driver, but has one that is
// elsewhere serve its socket; `driver registrar` registers such a one. Both take the
// flags that Kubernetes' own suite gives to csi-driver-host-path and its registrar.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "registrar" {
		command, args = registerAnother, args[1:]
	}
	if err := command(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "csi driver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("driver", flag.ContinueOnError)
	name := flags.String("name", "csi.minato.local", "name of the driver")
	node := flags.String("node", "", "name of the node")
	data := flags.String("data", "/data", "directory of the volumes")
	socket := flags.String("socket", "/csi/csi.sock", "where to serve")
	registration := flags.String("registration", "", "socket at which the driver registers with the node")
	onNode := flags.String("socket-on-node", "", "path of -socket on the node")
	capacity := flags.Int64("capacity", 100<<30, "bytes that volumes may have together")
	limit := flags.Int64("limit", 0, "how many volumes the node takes; 0 is any number")
	attach := flags.Bool("attach", true, "volumes have to be attached")
	proxied := flags.String("proxy-endpoint", "", "address, as tcp://:9000, at which the driver that is elsewhere takes its connections")
	flags.StringVar(name, "drivername", *name, "as -name")
	flags.StringVar(node, "nodeid", *node, "as -node")
	flags.StringVar(socket, "endpoint", *socket, "as -socket")
	flags.StringVar(data, "statedir", *data, "as -data")
	flags.Int64Var(limit, "maxvolumespernode", *limit, "as -limit")
	flags.Int64Var(limit, "attach-limit", *limit, "as -limit")
	attaches := flags.Bool("enable-attach", false, "with -drivername, in place of -attach")
	expands := flags.Bool("node-expand-required", true, "the node has to grow a volume after the controller")
	topology := flags.Bool("enable-topology", true, "tell on which node volumes are")
	flags.Int("v", 0, "taken for the sake of those who give it; every call is logged")
	if err := flags.Parse(args); err != nil {
		return err
	}
	flags.Visit(func(f *flag.Flag) { // whoever uses that one knows the defaults of csi-driver-host-path
		if f.Name == "drivername" {
			*attach = *attaches
		}
	})
	if *proxied != "" {
		return runProxy(ctx, *socket, *proxied)
	}
	s, err := openStore(*data, *capacity)
	if err != nil {
		return err
	}
	d := &driver{name: *name, node: *node, store: s, limit: *limit, attach: *attach, expands: *expands, tells: *topology}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	spec.RegisterIdentityServer(server, d)
	spec.RegisterControllerServer(server, d)
	spec.RegisterNodeServer(server, d)
	listener, err := listen(*socket)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(listener) }()
	if *registration != "" {
		r := &registrar{name: *name, endpoint: *onNode}
		go func() { ended <- r.serve(ctx, *registration) }()
	}
	select {
	case <-ctx.Done():
		server.Stop()
		return nil
	case err := <-ended:
		return err
	}
}

func runProxy(ctx context.Context, socket, address string) error {
	front, err := listen(socket)
	if err != nil {
		return err
	}
	back, err := net.Listen("tcp", strings.TrimPrefix(address, "tcp://"))
	if err != nil {
		front.Close()
		return err
	}
	return (&proxy{front, back}).serve(ctx)
}

// path is that of a socket, which may be given as an address.
func path(socket string) string { return strings.TrimPrefix(socket, "unix://") }

// listen opens a unix socket in the place of one that an earlier run has left.
func listen(socket string) (net.Listener, error) {
	if err := os.Remove(path(socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path(socket))
}

// driver serves all three services.
type driver struct {
	spec.UnimplementedIdentityServer
	spec.UnimplementedControllerServer
	spec.UnimplementedNodeServer
	name, node string
	store      *store
	limit      int64
	attach     bool
	expands    bool // the node has to
	tells      bool // on which node volumes are
}

// intercept refuses what lacks a required field, logs each call, and lets those hang of
// which a file hang-METHOD is in the directory of volumes. Those with a file lie-METHOD
// are answered as if they had been done.
func (d *driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	if d.store.told("hang-" + method) {
		fmt.Println("hangs", method)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if d.store.told("lie-" + method) {
		if resp := doneNothing(req); resp != nil {
			fmt.Println("lies", method)
			return resp, nil
		}
	}
	if field := lacks(req); field != "" {
		return nil, status.Errorf(codes.InvalidArgument, "%s is required", field)
	}
	resp, err := handler(ctx, req)
	logCall(info.FullMethod, req, resp, err)
	if method != "Probe" {
		fmt.Println(method, err)
	}
	return resp, err
}

// logCall prints a call as Kubernetes' suite reads it from the logs of its mock driver.
func logCall(method string, req, resp any, err error) {
	line := map[string]any{"Method": method, "Request": req, "Response": resp, "Error": ""}
	if err != nil {
		line["Error"] = err.Error()
		line["FullError"] = map[string]any{"code": status.Code(err), "message": status.Convert(err).Message()}
	}
	if text, err := json.Marshal(line); err == nil {
		fmt.Println("gRPCCall:", string(text))
	}
}

// doneNothing is the answer to a request of the node service that would be given if it
// had been done, nil to others.
func doneNothing(req any) any {
	switch req.(type) {
	case *spec.NodeStageVolumeRequest:
		return &spec.NodeStageVolumeResponse{}
	case *spec.NodePublishVolumeRequest:
		return &spec.NodePublishVolumeResponse{}
	case *spec.NodeUnpublishVolumeRequest:
		return &spec.NodeUnpublishVolumeResponse{}
	case *spec.NodeUnstageVolumeRequest:
		return &spec.NodeUnstageVolumeResponse{}
	}
	return nil
}

// GetPluginInfo implements the identity service.
func (d *driver) GetPluginInfo(context.Context, *spec.GetPluginInfoRequest) (*spec.GetPluginInfoResponse, error) {
	return &spec.GetPluginInfoResponse{Name: d.name, VendorVersion: "1"}, nil
}

// GetPluginCapabilities implements the identity service.
func (d *driver) GetPluginCapabilities(context.Context, *spec.GetPluginCapabilitiesRequest) (*spec.GetPluginCapabilitiesResponse, error) {
	var out []*spec.PluginCapability
	services := []spec.PluginCapability_Service_Type{spec.PluginCapability_Service_CONTROLLER_SERVICE}
	if d.tells {
		services = append(services, spec.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS)
	}
	for _, t := range services {
		out = append(out, &spec.PluginCapability{Type: &spec.PluginCapability_Service_{Service: &spec.PluginCapability_Service{Type: t}}})
	}
	out = append(out, &spec.PluginCapability{Type: &spec.PluginCapability_VolumeExpansion_{
		VolumeExpansion: &spec.PluginCapability_VolumeExpansion{Type: spec.PluginCapability_VolumeExpansion_ONLINE},
	}})
	return &spec.GetPluginCapabilitiesResponse{Capabilities: out}, nil
}

// Probe implements the identity service.
func (d *driver) Probe(context.Context, *spec.ProbeRequest) (*spec.ProbeResponse, error) {
	return &spec.ProbeResponse{}, nil
}
