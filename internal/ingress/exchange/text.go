package exchange

import "minato/internal/ingress/table"

// Expand returns a text with its variables' values. A text of one part costs no copy.
func (x *Exchange) Expand(t *table.Text) string {
	switch len(t.Parts) {
	case 0:
		return ""
	case 1:
		return x.part(&t.Parts[0])
	}
	x.scratch = x.AppendText(x.scratch[:0], t)
	return string(x.scratch)
}

// AppendText appends a text with its variables' values.
func (x *Exchange) AppendText(dst []byte, t *table.Text) []byte {
	for i := range t.Parts {
		dst = append(dst, x.part(&t.Parts[i])...)
	}
	return dst
}

func (x *Exchange) part(p *table.Part) string {
	if p.Var == table.VarNone {
		return p.Literal
	}
	return x.Lookup(p.Var, p.Name)
}
