package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dropEmpty removes the logs in one of Badger's folders that have no bytes. Badger
// gives a new log its size, and takes it from an old one before it removes it, so a
// process that dies in between leaves one, and the next start fails on it once:
// "Create a new file". A folder that another process holds is left alone, with the
// lock that Badger takes, too.
func dropEmpty(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close() // and with it the lock
	if unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // Open says that it is in use
	}
	files, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if ext := filepath.Ext(f.Name()); err != nil || info.Size() > 0 || ext != ".mem" && ext != ".vlog" {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
