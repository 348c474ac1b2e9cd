// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrMissing is returned by the lookups when the cache does not hold what is asked for.
var ErrMissing = errors.New("not in the tool cache")

// Cache is a tool cache at a directory.
type Cache struct {
	// Dir is the absolute path of the cache.
	Dir string
}

// Open returns the cache of the current user: ${PEEL_CACHE}, else the user's cache directory + "/peel". It need not exist.
func Open() (*Cache, error) {
	dir := os.Getenv("PEEL_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("tool cache: %w; set PEEL_CACHE", err)
		}
		dir = filepath.Join(base, "peel")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("tool cache: %w", err)
	}
	return &Cache{Dir: dir}, nil
}

// Bin is the directory of the wrappers.
func (c *Cache) Bin() string { return filepath.Join(c.Dir, "bin") }

// unit is the directory into which a unit is unpacked.
func (c *Cache) unit(name string) string { return filepath.Join(c.Dir, "unit", name) }

// stamp is the file that tells which description of a unit its directory was made from.
func (c *Cache) stamp(name string) string { return filepath.Join(c.unit(name), ".peel-unit") }

// Have reports whether the unit of this name is there and was made from its present description.
func (c *Cache) Have(name string) bool {
	u, ok := unitByName(name)
	if !ok {
		return false
	}
	b, err := os.ReadFile(c.stamp(name))
	return err == nil && string(b) == u.fingerprint()
}

// Tool returns the path of the wrapper for a tool such as "sbsign".
func (c *Cache) Tool(name string) (string, error) {
	if name != filepath.Base(name) {
		return "", fmt.Errorf("tool %q: not a plain name", name)
	}
	p := filepath.Join(c.Bin(), name)
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("tool %s: %w", name, ErrMissing)
	}
	return p, nil
}

// Glob returns the one file or directory below the unit that matches the pattern (path.Match, relative). Symbolic links
// are followed inside the unit. Several matches are an error, as is none.
func (c *Cache) Glob(unit, pattern string) (string, error) {
	if !c.Have(unit) {
		return "", fmt.Errorf("unit %s: %w", unit, ErrMissing)
	}
	m, err := filepath.Glob(filepath.Join(c.unit(unit), pattern))
	if err != nil {
		return "", fmt.Errorf("unit %s: %s: %w", unit, pattern, err)
	}
	if len(m) != 1 {
		return "", fmt.Errorf("unit %s: %d files match %s, want 1: %w", unit, len(m), pattern, ErrMissing)
	}
	rel, err := filepath.Rel(c.unit(unit), m[0])
	if err != nil {
		return "", err
	}
	return resolve(c.unit(unit), rel)
}

// resolve follows the symbolic links of rel as if root were "/", so that a package's absolute links stay inside.
func resolve(root, rel string) (string, error) {
	rest := strings.Split(filepath.Clean("/"+rel), "/")
	cur := "/"
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			cur = filepath.Dir(cur)
			continue
		}
		next := filepath.Join(cur, part)
		fi, err := os.Lstat(filepath.Join(root, next))
		if err != nil {
			return "", fmt.Errorf("%s in %s: %w", rel, root, errors.Join(ErrMissing, err))
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			cur = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s in %s: too many symbolic links", rel, root)
		}
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			cur = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, cur), nil
}
