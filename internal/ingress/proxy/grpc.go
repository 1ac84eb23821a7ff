package proxy

import (
	"context"

	"minato/internal/ingress/table"
)

func (f *flow) attemptHTTP2(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (o outcome, sent bool) {
	return outcomeConfig, false
}
