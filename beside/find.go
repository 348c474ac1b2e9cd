// SPDX-License-Identifier: Apache-2.0

package beside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrLimit means that there are more files than anybody needs.
var ErrLimit = errors.New("too many files beside the image")

const (
	// maxName is the longest file name that the stub takes, in bytes.
	maxName = 255
	// maxFiles bounds the files of one kind in one directory.
	maxFiles = 4096
)

// Found is what lies beside an image.
type Found struct {
	// Addons are paths in the order in which they apply: those for all
	// images, then those of the image, each sorted by name.
	Addons []string
	// Groups are files to be packed, in the order in which the stub appends
	// their archives. Groups without files are left out.
	Groups []Group
}

// Group is a set of files that go into one archive.
type Group struct {
	// Name says what the files are: "credentials".
	Name string
	// Paths are sorted by file name.
	Paths []string
	// Archive says how they are packed.
	Archive Archive
	// PCR is the register that the stub extends with the archive.
	PCR int
}

// source is one row of the stub's table of files.
type source struct {
	name             string
	global           string // directory for all images; empty is the image's own
	suffix, excluded string
	archive          Archive
	pcr              int
}

// PCRs that the stub extends with archives.
const (
	pcrConfig = 12
	pcrSysext = 13
)

func sources() []source {
	secret := func(target string) Archive { return Archive{target, 0o500, 0o400} }
	public := func(target string) Archive { return Archive{target, 0o555, 0o444} }
	return []source{
		{"credentials", "", ".cred", "", secret(".extra/credentials"), pcrConfig},
		{"global credentials", globalCredentials, ".cred", "", secret(".extra/global_credentials"), pcrConfig},
		// Extensions for the system were named *.raw once, and still are.
		{"system extensions", "", ".raw", confext, public(".extra/sysext"), pcrSysext},
		{"global system extensions", globalExtensions, ".raw", confext, public(".extra/global_sysext"), pcrSysext},
		{"configuration extensions", "", confext, "", public(".extra/confext"), pcrConfig},
		{"global configuration extensions", globalExtensions, confext, "", public(".extra/global_confext"), pcrConfig},
	}
}

const confext = ".confext.raw"

// below is a directory that the stub names, under root.
func below(root, name string) string {
	return filepath.Join(root, filepath.FromSlash(strings.ReplaceAll(name, `\`, "/")))
}

// Find is Stub.Find for a stub of today's systemd.
func Find(path, root string) (*Found, error) {
	return Stub{Addons: true, Files: true, names: func(string) bool { return true }}.Find(path, root)
}

// Find looks for what the stub would take for the image at path. root is where
// the volume with the image is mounted; when it is empty, what is meant for
// all images is left out. A directory that is not there is no error; one that
// cannot be read is, and so are more files than ErrLimit allows.
func (stub Stub) Find(path, root string) (*Found, error) {
	own := ExtraDir(path)
	f := &Found{}
	if stub.Addons {
		dirs := []string{own}
		if root != "" && stub.names(globalAddons) {
			dirs = []string{below(root, globalAddons), own}
		}
		for _, dir := range dirs {
			addons, err := list(dir, ".addon.efi", "")
			if err != nil {
				return nil, err
			}
			f.Addons = append(f.Addons, addons...)
		}
	}
	for _, s := range sources() {
		dir := own
		if s.global != "" {
			dir = below(root, s.global)
		}
		if !stub.Files || s.global != "" && (root == "" || !stub.names(s.global)) || !stub.names(s.suffix) {
			continue
		}
		if !stub.names(s.excluded) {
			s.excluded = ""
		}
		paths, err := list(dir, s.suffix, s.excluded)
		if err != nil {
			return nil, err
		}
		if len(paths) > 0 {
			f.Groups = append(f.Groups, Group{s.name, paths, s.archive, s.pcr})
		}
	}
	return f, nil
}

// list returns the regular files of a directory that the stub would take.
func list(dir, suffix, excluded string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if name[0] == '.' || len(name) > maxName || !ascii(name) || !hasSuffix(name, suffix) || excluded != "" && hasSuffix(name, excluded) {
			continue
		}
		// Stat, so that a link counts as what it leads to.
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if !fi.Mode().IsRegular() {
			continue
		}
		if len(names) == maxFiles {
			return nil, fmt.Errorf("%w: more than %d *%s in %s", ErrLimit, maxFiles, suffix, dir)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = filepath.Join(dir, n)
	}
	return names, nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}

// hasSuffix ignores case, as FAT does.
func hasSuffix(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// ExtraDir returns the directory of what belongs to the image at path alone:
// its name without the counter of boot attempts, and ".extra.d".
func ExtraDir(path string) string {
	dir, name := filepath.Split(path)
	return filepath.Join(dir, withoutCounter(name)) + ".extra.d"
}

// withoutCounter takes "+LEFT" or "+LEFT-DONE" out of a file name (UAPI.1,
// "Boot Counting"); it must be followed by a dot or the end.
func withoutCounter(name string) string {
	stem, tail, ok := strings.Cut(name, "+")
	if !ok {
		return name
	}
	counter, rest := tail, ""
	if i := strings.IndexByte(tail, '.'); i >= 0 {
		counter, rest = tail[:i], tail[i:]
	}
	left, done, both := strings.Cut(counter, "-")
	if !number(left) || both && !number(done) {
		return name
	}
	return stem + rest
}

func number(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil && s[0] != '+'
}

// RootOf guesses where the volume of the image at path is mounted: above the
// directory EFI that the specifications put images into. It is empty when
// there is no such directory on the way.
func RootOf(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if strings.EqualFold(filepath.Base(dir), "EFI") {
			return filepath.Dir(dir)
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
