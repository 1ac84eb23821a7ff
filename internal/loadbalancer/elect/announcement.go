package elect

// Announcement is which node answers for an address in layer 2, and why.
type Announcement struct {
	// Node is empty if nobody announces the address.
	Node string
	// Interfaces are where it is announced; nil for every uplink of the node.
	Interfaces []string
	// Reason is Elected, or why nobody announces.
	Reason Reason
	// Message says the same in a sentence, with the remedy if nobody announces.
	Message string
	// Candidates are all nodes: those that may announce in their order, then those that may not, by name.
	Candidates []Candidate
}

// Candidate is a node and its place in the election.
type Candidate struct {
	Node string
	// Rank is 1 for the node that announces, 2 for who would be next, and 0 for a node that may not announce.
	Rank int
	// Score is the sum of the preferences of the advertisements for the node; a higher one goes first.
	Score int
	// Hash orders nodes of the same score, the lowest first: SHA-256 of the node's name, # and the Service's first
	// address, in hexadecimal.
	Hash string
	// Excluded is why the node may not announce; empty if it may.
	Excluded Reason
	// Why explains the place in a sentence.
	Why string
}

// Next is the node that would announce if the one that does were gone; empty if there is none.
func (a *Announcement) Next() string {
	if len(a.Candidates) > 1 && a.Candidates[1].Rank == 2 {
		return a.Candidates[1].Node
	}
	return ""
}
