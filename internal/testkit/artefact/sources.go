// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mirror is where a machine gets its Debian packages from.
type Mirror struct {
	Main, Security string   // URIs; Security may be empty
	Codename       string   // the machine's own suite
	Keyrings       []string // files; empty is apt's default
}

// source is one entry of sources.list(5) in either of its formats.
type source struct {
	uris, suites, components []string
	signedBy                 []string
}

// fullKeyrings hold the keys of all supported suites, where a machine's sources may name a key of its own suite only.
func fullKeyrings() []string {
	return []string{"usr/share/keyrings/debian-archive-keyring.pgp", "usr/share/keyrings/debian-archive-keyring.gpg"}
}

// MachineMirror reads the package sources of the machine whose root directory is given. PEEL_DEBIAN_MIRROR and
// PEEL_DEBIAN_SECURITY_MIRROR, when set, come first.
func MachineMirror(root string) (Mirror, error) {
	var m Mirror
	rel, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return m, fmt.Errorf("package sources: %w", err)
	}
	for line := range strings.Lines(string(rel)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			m.Codename = strings.Trim(v, `"'`)
		}
	}
	all, err := readSources(filepath.Join(root, "etc/apt"))
	if err != nil {
		return m, fmt.Errorf("package sources: %w", err)
	}
	for _, s := range all {
		if !slices.Contains(s.components, "main") {
			continue
		}
		for _, suite := range s.suites {
			base, pocket, _ := strings.Cut(strings.ReplaceAll(suite, "/", "-"), "-")
			if base != m.Codename && !slices.Contains(debianSuites(), base) {
				continue
			}
			switch {
			case pocket == "security" || pocket == "updates" && strings.Contains(suite, "/"):
				if m.Security == "" {
					m.Security = s.uris[0]
				}
			case pocket == "" && m.Main == "":
				m.Main, m.Keyrings = s.uris[0], s.signedBy
			}
		}
	}
	for _, k := range fullKeyrings() {
		k = filepath.Join(root, k)
		if _, err := os.Stat(k); err == nil {
			m.Keyrings = []string{k}
			break
		}
	}
	if v := os.Getenv("PEEL_DEBIAN_MIRROR"); v != "" {
		m.Main, m.Security = v, ""
	}
	if v := os.Getenv("PEEL_DEBIAN_SECURITY_MIRROR"); v != "" {
		m.Security = v
	}
	if m.Main == "" {
		return m, errors.New("package sources: no Debian mirror in /etc/apt/sources.list or sources.list.d; set PEEL_DEBIAN_MIRROR to one")
	}
	return m, nil
}

func debianSuites() []string {
	return strings.Fields("bullseye bookworm trixie forky sid oldoldstable oldstable stable testing unstable")
}

func readSources(dir string) ([]source, error) {
	files := []string{filepath.Join(dir, "sources.list")}
	parts, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	var out []source
	for _, f := range append(files, parts...) {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch filepath.Ext(f) {
		case ".list":
			out = append(out, parseOneLine(string(b))...)
		case ".sources":
			out = append(out, parseDeb822(string(b))...)
		}
	}
	return out, nil
}

// parseOneLine reads "deb [option=value ...] URI suite component..." lines.
func parseOneLine(text string) []source {
	var out []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || !strings.ContainsAny(rest[:1], " \t") {
			continue
		}
		rest = strings.TrimSpace(rest)
		var s source
		if strings.HasPrefix(rest, "[") {
			opts, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			rest = after
			for _, o := range strings.Fields(opts) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					s.signedBy = keyFiles(strings.ReplaceAll(v, ",", " "))
				}
			}
		}
		f := strings.Fields(rest)
		if len(f) < 3 {
			continue
		}
		s.uris, s.suites, s.components = f[:1], f[1:2], f[2:]
		out = append(out, s)
	}
	return out
}

// parseDeb822 reads stanzas of "Field: value" with continuation lines.
func parseDeb822(text string) []source {
	var out []source
	fields := map[string]string{}
	last := ""
	flush := func() {
		s := source{
			uris:       strings.Fields(fields["uris"]),
			suites:     strings.Fields(fields["suites"]),
			components: strings.Fields(fields["components"]),
			signedBy:   keyFiles(fields["signed-by"]),
		}
		enabled := !slices.Contains([]string{"no", "false", "0", "off"}, strings.ToLower(fields["enabled"]))
		if enabled && len(s.uris) > 0 && slices.Contains(strings.Fields(fields["types"]), "deb") {
			out = append(out, s)
		}
		fields, last = map[string]string{}, ""
	}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + strings.TrimSpace(line)
		default:
			k, v, _ := strings.Cut(line, ":")
			last = strings.ToLower(k)
			fields[last] = strings.TrimSpace(v)
		}
	}
	flush()
	return out
}

// keyFiles keeps the paths of a Signed-By value; a key given inline is left to the full keyring of the machine.
func keyFiles(v string) []string {
	var out []string
	for _, f := range strings.Fields(v) {
		if strings.HasPrefix(f, "/") {
			out = append(out, f)
		}
	}
	return out
}
