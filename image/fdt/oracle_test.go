// SPDX-License-Identifier: Apache-2.0

package fdt_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/peelboot/peel/image/fdt"
	"github.com/peelboot/peel/internal/testkit"
)

// run runs a tool of the cache and returns its standard output.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	return testkit.Run(t, "", name, args...)
}

// compile compiles device tree source with dtc, with symbols.
func compile(t testing.TB, source string) []byte {
	t.Helper()
	p := filepath.Join(t.TempDir(), "in.dts")
	if err := os.WriteFile(p, []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	return run(t, "dtc", "-q", "-q", "-@", "-I", "dts", "-O", "dtb", p)
}

// source turns a tree back into source with sorted nodes.
func source(t testing.TB, dtb []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "in.dtb")
	if err := os.WriteFile(p, dtb, 0o666); err != nil {
		t.Fatal(err)
	}
	return string(run(t, "dtc", "-q", "-q", "-s", "-I", "dtb", "-O", "dts", p))
}

func parse(t testing.TB, b []byte) *fdt.Tree {
	t.Helper()
	tree, err := fdt.Parse(b)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return tree
}

func marshal(t testing.TB, tree *fdt.Tree) []byte {
	t.Helper()
	b, err := tree.Marshal()
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	return b
}

// board has what real trees have: reservations, labels, shared names, a name
// that is the tail of another, values of any length.
const board = `/dts-v1/;
/memreserve/ 0x48000000 0x200000;
/memreserve/ 0x100000000 0x1000;
/ {
	#address-cells = <2>;
	#size-cells = <2>;
	compatible = "peel,board", "peel,generic";
	model = "board";
	aliases { serial0 = &uart0; bus = "/soc/bus@1000000"; };
	chosen { stdout-path = "serial0:115200n8"; linux,initrd-start = <0x48000000>; };
	memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x20000000>, <1 0 0 0x80000000>; };
	memory@900000000 { device_type = "memory"; reg = <9 0 0 0x1000>; status = "disabled"; };
	reserved-memory {
		#address-cells = <2>; #size-cells = <2>; ranges;
		secure@50000000 { reg = <0 0x50000000 0 0x100000>; no-map; };
		pool { size = <0 0x100000>; };
	};
	soc: soc {
		#address-cells = <1>; #size-cells = <1>;
		compatible = "simple-bus";
		ranges = <0x0 0x0 0x80000000 0x10000000>;
		bus: bus@1000000 {
			#address-cells = <1>; #size-cells = <1>;
			ranges = <0 0x1000000 0x100000>;
			uart0: serial@9000 { compatible = "arm,pl011"; reg = <0x9000 0x1000>; clocks = <&clk>; status = "okay"; };
			uart1: serial@a000 { compatible = "arm,pl011"; reg = <0xa000 0x1000>; interrupt-parent = <&gic>; };
		};
	};
	gic: interrupt-controller { interrupt-controller; #interrupt-cells = <3>; parent; };
	clk: clock { bytes = [01 02 03]; empty; #clock-cells = <0>; };
};
`

const overlay = `/dts-v1/;
/plugin/;
&uart1 { status = "okay"; clocks = <&osc &clk>; child { phandle-of = <&osc>; }; };
&{/soc/bus@1000000} { extra: extra@b000 { reg = <0xb000 0x10>; link = <&osc>, <&uart0>; }; };
&{/} { model = "board with overlay"; osc: oscillator { compatible = "fixed-clock"; #clock-cells = <0>; }; };
/ { fragment@77 { target = <&soc>; soclabel: __overlay__ { new-node { deep { deeper: deeper { x = <1>; }; }; }; }; };
	fragment@78 { target-path = "/"; rootlabel: __overlay__ { y; }; }; };
`

func TestMarshalEqualsDTC(t *testing.T) {
	for name, src := range map[string]string{"board": board, "overlay": overlay} {
		want := compile(t, src)
		got := marshal(t, parse(t, append(bytes.Clone(want), "slack"...)))
		if !bytes.Equal(got, want) {
			t.Errorf("Marshal(Parse(%s)) = %d bytes, want the %d of dtc", name, len(got), len(want))
		}
	}
}

// The trees that QEMU gives to kernels.
func TestMachineTrees(t *testing.T) {
	for _, qemu := range []string{"qemu-system-aarch64", "qemu-system-riscv64"} {
		p := filepath.Join(t.TempDir(), "virt.dtb")
		run(t, qemu, "-machine", "virt,dumpdtb="+p, "-m", "1G", "-smp", "4")
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		tree := parse(t, b)
		want := run(t, "dtc", "-q", "-q", "-I", "dtb", "-O", "dtb", p)
		if got := marshal(t, tree); !bytes.Equal(got, want) {
			t.Errorf("%s: Marshal(Parse) = %d bytes, want the %d of dtc", qemu, len(got), len(want))
		}
		mem, err := tree.Memory()
		if err != nil || len(mem) != 1 || mem[0].Size != 1<<30 {
			t.Errorf("%s: Memory() = %#x, %v, want one region of 1 GiB", qemu, mem, err)
		}
	}
}

func TestEditEqualsDTC(t *testing.T) {
	tree := parse(t, compile(t, board))
	tree.Chosen().SetText("bootargs", "console=ttyAMA0")
	tree.Chosen().Delete("linux,initrd-start")
	tree.Ensure("/chosen/new@1").SetU64("v", 0x1122334455667788)
	tree.Root.RemoveChild("soc")
	tree.Root.RemoveChild("aliases")
	tree.Root.RemoveChild("__symbols__")
	tree.Reserve = tree.Reserve[:1]
	if err := tree.SetMemory([]fdt.Region{{Address: 0x80000000, Size: 0x1000}}); err != nil {
		t.Fatal(err)
	}
	want := source(t, compile(t, `/dts-v1/;
/memreserve/ 0x48000000 0x200000;
/ {
	#address-cells = <2>; #size-cells = <2>;
	compatible = "peel,board", "peel,generic"; model = "board";
	chosen { stdout-path = "serial0:115200n8"; bootargs = "console=ttyAMA0"; new@1 { v = <0x11223344 0x55667788>; }; };
	memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x1000>; };
	reserved-memory {
		#address-cells = <2>; #size-cells = <2>; ranges;
		secure@50000000 { reg = <0 0x50000000 0 0x100000>; no-map; };
		pool { size = <0 0x100000>; };
	};
	interrupt-controller { interrupt-controller; #interrupt-cells = <3>; parent; phandle = <2>; };
	clock { bytes = [01 02 03]; empty; #clock-cells = <0>; phandle = <1>; };
};`))
	if got := source(t, marshal(t, tree)); got != want {
		t.Errorf("edited tree = %s\nwant %s", got, want)
	}
}

func TestApplyEqualsFdtoverlay(t *testing.T) {
	for _, c := range []struct {
		name    string
		base    string
		overlay []string
	}{
		{"all kinds", board, []string{overlay}},
		{"two, the second on symbols of the first", board, []string{overlay, `/dts-v1/; /plugin/;
			&extra { more = <&osc>; };
			&deeper { y = <2>; };`}},
		{"target path of an earlier fragment", board, []string{`/dts-v1/; /plugin/; / {
			fragment@0 { target-path = "/"; __overlay__ { one {}; }; };
			fragment@1 { target-path = "/one"; __overlay__ { two = "2"; }; };
			fragment@2 { target-path = "serial0"; __overlay__ { three; }; };
			not-a-fragment { x; };
		};`}},
		{"base without symbols, overlay without fixups", "/dts-v1/; / { a {}; };", []string{`/dts-v1/; /plugin/; / {
			fragment@0 { target-path = "/a"; __overlay__ { l: b { self = <&l>; }; }; };
		};`}},
		{"node without unit address", "/dts-v1/; / { a@1 { x; }; };", []string{`/dts-v1/; /plugin/; / {
			fragment@0 { target-path = "/"; __overlay__ { a { y; }; }; };
		};`}},
	} {
		dir := t.TempDir()
		file := func(name, src string) string {
			p := filepath.Join(dir, name)
			if err := os.WriteFile(p, compile(t, src), 0o666); err != nil {
				t.Fatal(err)
			}
			return p
		}
		base := file("base", c.base)
		out := filepath.Join(dir, "out")
		args := []string{"-i", base, "-o", out}
		tree := parse(t, compile(t, c.base))
		for i, src := range c.overlay {
			args = append(args, file(string(rune('0'+i)), src))
			over := parse(t, compile(t, src))
			before := marshal(t, over)
			if err := tree.Apply(over); err != nil {
				t.Fatalf("%s: Apply: %v", c.name, err)
			}
			if !bytes.Equal(marshal(t, over), before) {
				t.Errorf("%s: Apply changed the overlay", c.name)
			}
		}
		run(t, "fdtoverlay", args...)
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := source(t, marshal(t, tree)), source(t, b); got != want {
			t.Errorf("%s: Apply = %s\nwant %s", c.name, got, want)
		}
	}
}
