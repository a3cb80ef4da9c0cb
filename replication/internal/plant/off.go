//go:build !plant

package plant

// Bug is the wrong rule in force.
const Bug = None
