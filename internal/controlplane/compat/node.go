package compat

import (
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// merge gives a node of a YAML document the value v, and keeps what stays as it was:
// the order of fields, comments, and the style of text.
func merge(node *yaml.Node, v any) {
	switch v := v.(type) {
	case map[string]any:
		if node.Kind == yaml.MappingNode {
			mergeMapping(node, v)
			return
		}
	case []any:
		if node.Kind == yaml.SequenceNode && len(node.Content) == len(v) {
			for i := range v {
				merge(node.Content[i], v[i])
			}
			return
		}
	default:
		if n := fresh(v); node.Kind == yaml.ScalarNode {
			if node.ShortTag() != n.ShortTag() || node.Value != n.Value {
				node.Tag, node.Value, node.Style = n.Tag, n.Value, n.Style
			}
			return
		}
	}
	n := fresh(v)
	n.HeadComment, n.LineComment, n.FootComment = node.HeadComment, node.LineComment, node.FootComment
	*node = *n
}

// mergeMapping keeps the fields that are still there, and writes new ones behind
// them, but before a template, which is long.
func mergeMapping(node *yaml.Node, v map[string]any) {
	var content []*yaml.Node
	known := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i].Value
		value, ok := v[key]
		if !ok || known[key] {
			continue
		}
		known[key] = true
		merge(node.Content[i+1], value)
		content = append(content, node.Content[i], node.Content[i+1])
	}
	at := slices.IndexFunc(content, func(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Value == "template" })
	if at < 0 || at%2 != 0 {
		at = len(content)
	}
	for _, name := range names(v) {
		if known[name] {
			continue
		}
		content = slices.Insert(content, at, fresh(name), fresh(v[name]))
		at += 2
	}
	node.Content = content
	if len(content) == 0 {
		node.Style |= yaml.FlowStyle
	}
}

// fresh makes a node.
func fresh(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, name := range names(v) {
			n.Content = append(n.Content, fresh(name), fresh(v[name]))
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, fresh(item))
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v, 10)}
	}
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		n.SetString("") // a scalar can always be encoded
	}
	return n
}

// child returns the value of a mapping's field, or nil.
func child(node *yaml.Node, name string) *yaml.Node {
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// hasAlias tells whether a part of the node stands for another, so that no part can
// be changed by itself.
func hasAlias(node *yaml.Node) bool {
	return node.Kind == yaml.AliasNode || slices.ContainsFunc(node.Content, hasAlias)
}

// indented tells whether the document indents the first list in a mapping further
// than its field.
func indented(node *yaml.Node) bool {
	for i := 0; i < len(node.Content); i++ {
		c := node.Content[i]
		if node.Kind == yaml.MappingNode && i%2 == 1 && c.Kind == yaml.SequenceNode && c.Style&yaml.FlowStyle == 0 && c.Line > 0 {
			return c.Column > node.Content[i-1].Column
		}
		if len(c.Content) > 0 && hasBlockList(c) {
			return indented(c)
		}
	}
	return false
}

// hasBlockList tells whether there is a list in block style in a mapping.
func hasBlockList(node *yaml.Node) bool {
	for i, c := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 1 && c.Kind == yaml.SequenceNode && c.Style&yaml.FlowStyle == 0 && c.Line > 0 || hasBlockList(c) {
			return true
		}
	}
	return false
}
