package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registrar tells the node where the driver serves.
type registrar struct {
	registerapi.UnimplementedRegistrationServer
	name, endpoint string
}

// registerAnother is the command `driver registrar`: it registers a driver that serves
// elsewhere, once it answers. Its flags are those of csi-node-driver-registrar.
func registerAnother(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("registrar", flag.ContinueOnError)
	socket := flags.String("csi-address", "/csi/csi.sock", "where the driver serves")
	onNode := flags.String("kubelet-registration-path", "", "path of -csi-address on the node")
	dir := flags.String("plugin-registration-path", "/registration", "the node's directory for sockets of drivers")
	timeout := flags.Duration("timeout", time.Minute, "how long one try to reach the driver takes")
	flags.Int("v", 0, "taken for the sake of those who give it; there is little to say")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name, err := nameOf(ctx, *socket, *timeout)
	if err != nil {
		return err
	}
	r := &registrar{name: name, endpoint: *onNode}
	return r.serve(ctx, filepath.Join(*dir, name+"-reg.sock"))
}

// nameOf asks a driver for its name until it answers.
func nameOf(ctx context.Context, socket string, timeout time.Duration) (string, error) {
	conn, err := grpc.NewClient("unix://"+path(socket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for {
		try, cancel := context.WithTimeout(ctx, timeout)
		info, err := spec.NewIdentityClient(conn).GetPluginInfo(try, &spec.GetPluginInfoRequest{}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			return info.GetName(), nil
		}
		if ctx.Err() != nil {
			return "", err
		}
		fmt.Println("the driver does not answer yet:", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (r *registrar) serve(ctx context.Context, socket string) error {
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, r)
	go func() { <-ctx.Done(); server.Stop() }()
	return server.Serve(listener)
}

// GetInfo implements the registration service.
func (r *registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: r.name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus implements the registration service.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	fmt.Println("registered:", status.PluginRegistered, status.Error)
	return &registerapi.RegistrationStatusResponse{}, nil
}
