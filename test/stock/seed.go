package stock

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// Stored is an object as the API server keeps it.
type Stored struct {
	// Key is where, such as services/specs/NAMESPACE/NAME.
	Key string
	// Object has everything that the API server fills in: defaults, a UID, a time of creation.
	Object  runtime.Object
	Version schema.GroupVersion
}

// seedAtOnce is how many objects go into one transaction of etcd, which allows 128.
const seedAtOnce = 100

// Seed writes objects into the store past the API server, whose watches see them nevertheless. Tens of thousands take
// seconds in place of minutes; nobody checks them.
func (c *Cluster) Seed(ctx context.Context, objects []Stored) error {
	serializer := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	for len(objects) > 0 {
		n := min(seedAtOnce, len(objects))
		txn := &etcdserverpb.TxnRequest{}
		for _, o := range objects[:n] {
			data, err := runtime.Encode(scheme.Codecs.EncoderForVersion(serializer, o.Version), o.Object)
			if err != nil {
				return fmt.Errorf("seed %s: %w", o.Key, err)
			}
			put := &etcdserverpb.PutRequest{Key: []byte("/registry/" + o.Key), Value: data}
			txn.Success = append(txn.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put}})
		}
		if _, err := c.store.Server.Txn(ctx, txn); err != nil {
			return fmt.Errorf("seed %s and %d more: %w", objects[0].Key, n-1, err)
		}
		objects = objects[n:]
	}
	return nil
}
