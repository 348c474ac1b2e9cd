// SPDX-License-Identifier: Apache-2.0

package artefact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine makes a root directory with the files given.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMachineMirror(t *testing.T) {
	t.Setenv("PEEL_DEBIAN_MIRROR", "")
	t.Setenv("PEEL_DEBIAN_SECURITY_MIRROR", "")
	tests := []struct {
		name  string
		files map[string]string
		want  Mirror
	}{
		{
			name: "deb822",
			files: map[string]string{
				"etc/os-release":                       "ID=debian\nVERSION_CODENAME=trixie\n",
				"etc/apt/sources.list.d/other.sources": "Types: deb\nURIs: https://other.example/x\nSuites: nodistro\nComponents: main\n",
				"etc/apt/sources.list.d/debian.sources": "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n" +
					"Suites: trixie trixie-updates\nComponents: main contrib\nSigned-By: /k/main.gpg\n\n" +
					"Types: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n mQ\n",
			},
			want: Mirror{Main: "http://mirror.example/debian", Security: "http://mirror.example/security", Codename: "trixie", Keyrings: []string{"/k/main.gpg"}},
		},
		{
			name: "one line",
			files: map[string]string{
				"etc/os-release": "VERSION_CODENAME=\"bookworm\"\n",
				"etc/apt/sources.list": "# deb http://no.example/debian bookworm main\n" +
					"deb-src http://src.example/debian bookworm main\n" +
					"deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] http://one.example/debian/ bookworm main # tail\n" +
					"deb http://one.example/security bookworm-security main\n",
			},
			want: Mirror{Main: "http://one.example/debian/", Security: "http://one.example/security", Codename: "bookworm", Keyrings: []string{"/k/a.gpg", "/k/b.gpg"}},
		},
		{
			name: "disabled stanza, old security suite, alias",
			files: map[string]string{
				"etc/os-release":                   "VERSION_CODENAME=bullseye\n",
				"etc/apt/sources.list.d/a.sources": "Types: deb\nURIs: http://no.example\nSuites: bullseye\nComponents: main\nEnabled: no\n",
				"etc/apt/sources.list.d/b.list":    "deb http://b.example/security stable/updates main\ndeb http://b.example/debian stable main\n",
			},
			want: Mirror{Main: "http://b.example/debian", Security: "http://b.example/security", Codename: "bullseye"},
		},
		{
			name: "no security suite",
			files: map[string]string{
				"etc/os-release":       "VERSION_CODENAME=forky\n",
				"etc/apt/sources.list": "deb mirror+file:/etc/apt/mirrors sid main\n",
			},
			want: Mirror{Main: "mirror+file:/etc/apt/mirrors", Codename: "forky"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := MachineMirror(machine(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("MachineMirror() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMachineMirrorFullKeyring(t *testing.T) {
	root := machine(t, map[string]string{
		"etc/os-release":       "VERSION_CODENAME=bookworm\n",
		"etc/apt/sources.list": "deb [signed-by=/k/bookworm-only.gpg] http://m.example/debian bookworm main\n",
		"usr/share/keyrings/debian-archive-keyring.gpg": "",
	})
	got, err := MachineMirror(root)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(root, "usr/share/keyrings/debian-archive-keyring.gpg")}; !cmp.Equal(got.Keyrings, want) {
		t.Errorf("Keyrings = %q, want %q", got.Keyrings, want)
	}
}

func TestMachineMirrorNone(t *testing.T) {
	t.Setenv("PEEL_DEBIAN_MIRROR", "")
	root := machine(t, map[string]string{"etc/os-release": "VERSION_CODENAME=jammy\n", "etc/apt/sources.list": "deb http://u.example jammy main\n"})
	if m, err := MachineMirror(root); err != nil || m.Main != "http://u.example" {
		t.Errorf("MachineMirror(own code name) = %+v, %v, want its mirror", m, err)
	}
	root = machine(t, map[string]string{"etc/os-release": "ID=x\n"})
	if m, err := MachineMirror(root); err == nil {
		t.Errorf("MachineMirror(no sources) = %+v, want an error", m)
	}
	t.Setenv("PEEL_DEBIAN_MIRROR", "http://env.example/debian")
	if m, err := MachineMirror(root); err != nil || m.Main != "http://env.example/debian" {
		t.Errorf("MachineMirror(PEEL_DEBIAN_MIRROR) = %+v, %v, want it", m, err)
	}
}
