package h1

// ShareTo makes dst hold the same fields, as views of the same buffer of the Reader: what is changed in one does not
// change the other, but both end with the message. It costs no copy of the received text.
func (h *Header) ShareTo(dst *Header) {
	dst.Reset()
	dst.text = h.text
	dst.arena = append(dst.arena, h.arena...)
	dst.fields = append(dst.fields, h.fields...)
	dst.present, dst.twice = h.present, h.twice
}
