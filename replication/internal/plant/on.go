//go:build plant

package plant

// Bug is the wrong rule in force. Only tests set it.
var Bug = None
