// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"testing"

	"github.com/peelboot/peel/image/pe"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/internal/testkit"
)

// smallStub returns a stub of a few hundred bytes with a .sbat section.
func smallStub(t testing.TB) []byte {
	t.Helper()
	b := pe.NewBuilder(pe.Options{Machine: 0xaa64, EntryPoint: 4096, FileAlignment: 32, DOS: append([]byte("MZ"), make([]byte, 1022)...)})
	for _, s := range []pe.NewSection{
		{Name: ".text", Data: [][]byte{[]byte("code")}, Characteristics: pe.SectionCode | pe.SectionExecute | pe.SectionRead},
		{Name: ".sbat", Data: [][]byte{[]byte(sbatHead + "\nstub,1,Stub,stub,1,https://x\n")}, Characteristics: pe.SectionInitializedData | pe.SectionRead},
		{Name: ".reloc", Data: [][]byte{make([]byte, 12)}, Characteristics: pe.SectionInitializedData | pe.SectionRead},
	} {
		if err := b.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return layoutBytes(t, b)
}

// result builds into memory; what comes out must be what Parse accepts.
func result(t *testing.T, b builder) *pe.File {
	im, err := b.Build(context.Background())
	if err != nil {
		return nil
	}
	defer im.Close()
	if im.Size() > 64<<20 {
		return nil
	}
	var out bytes.Buffer
	if n, err := im.WriteTo(&out); err != nil || n != im.Size() {
		t.Fatalf("WriteTo = %d, %v, want %d", n, err, im.Size())
	}
	f, err := pe.Parse(out.Bytes())
	if err != nil {
		t.Fatalf("the image built is none: %v", err)
	}
	return f
}

// FuzzBuild gives hostile stubs and kernels to the builder.
func FuzzBuild(f *testing.F) {
	stub, kernel := smallStub(f), arm64Image(f, 300, 1<<16)
	f.Add(stub, kernel, []byte("initrd"), "quiet")
	f.Add(stub[:600], kernel[:200], []byte{}, "")
	f.Fuzz(func(t *testing.T, stub, kernel, initrd []byte, name string) {
		u := &UKI{Stub: Bytes(stub), Linux: Bytes(kernel), Initrds: []Content{Bytes(initrd), Bytes(initrd)}, Sections: []NamedContent{{name, Text("x")}}}
		if g := result(t, u); g != nil {
			s, ok := g.Find(uki.Linux)
			if !ok || !bytes.HasPrefix(g.Data(s), kernel[:1]) {
				t.Error("the image has no kernel")
			}
		}
	})
}

// FuzzEdit gives hostile images to the editor.
func FuzzEdit(f *testing.F) {
	im, err := (&UKI{Stub: Bytes(smallStub(f)), Linux: Bytes(arm64Image(f, 300, 1<<16)), Cmdline: Text("a")}).Build(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := im.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), ".cmdline", "new", ".linux")
	f.Add(b.Bytes(), ".sbat", sbatHead+"\n", ".sbat")
	f.Fuzz(func(t *testing.T, image []byte, set, text, drop string) {
		e := &Edit{Image: Bytes(image), Profile: uki.Base, Set: []NamedContent{{set, Text(text)}}}
		if drop != set {
			e.Drop = []string{drop}
		}
		if g := result(t, e); g != nil {
			if s, ok := g.Find(set); !ok || string(g.Data(s)) != text && set != uki.DTBAuto && set != uki.EFIFW {
				// The base's section is what changes; one of the same name
				// in the stub is refused.
				t.Errorf("section %q = %q, want %q", set, g.Data(s), text)
			}
		}
	})
}

// FuzzZboot gives hostile images to the builders of zboot images.
func FuzzZboot(f *testing.F) {
	kernel := arm64Image(f, 300, 1<<16)
	z, err := (&Zboot{Kernel: Bytes(kernel)}).Build(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := z.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(kernel, b.Bytes())
	f.Add(kernel, testkit.ReadFile(f, realZboot)[:48000])
	f.Fuzz(func(t *testing.T, kernel, from []byte) {
		if len(kernel) >= 24 && bytes.ContainsAny(kernel[18:24], "\x01\x02\x03\x04\x05\x06\x07\x08\x09") {
			return // many MiB of zeros cost time and show nothing
		}
		result(t, &Zboot{Kernel: Bytes(kernel), From: Bytes(from)})
		result(t, &Parser{Image: Bytes(from), Program: Text("\x7fELF")})
		result(t, &SignInner{Image: Bytes(from)})
	})
}

// FuzzConfig gives hostile texts to the readers of text.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("[UKI]\nLinux=a\n b\n"))
	f.Add([]byte(`{"name":"a","compatible":"b","hwids":["00112233-4455-6677-8899-aabbccddeeff"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseConfig(b); err == nil && len(c.UKI) > len(ConfigKeys()) {
			t.Errorf("%d settings, %d keys", len(c.UKI), len(ConfigKeys()))
		}
		list, err := ParseHWIDs(b)
		if err != nil {
			return
		}
		if s, err := HWIDs(list); err == nil {
			if _, err := uki.ParseHWIDs(s); err != nil {
				t.Errorf("ParseHWIDs(HWIDs(%+v)) = %v", list, err)
			}
		}
	})
}
