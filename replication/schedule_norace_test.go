//go:build !race

package replication

// schedules is how many random schedules a test run makes.
const schedules = 100_000
