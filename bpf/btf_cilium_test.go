// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/peelboot/peel/internal/testkit"
)

// TestBTFAgainstCilium compares every type of real objects with what
// cilium/ebpf reads: kinds, names, sizes, members, values, and which type
// refers to which by id.
func TestBTFAgainstCilium(t *testing.T) {
	objects := map[string][]byte{}
	for _, name := range []string{"parser", "core", "target", "v4"} {
		objects[name] = compile(t, name, "-mcpu=v4")
	}
	paths, err := filepath.Glob("../parser/stock/obj/*[a-z].o")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if ok, _ := filepath.Match("*.lskel.o", filepath.Base(path)); !ok {
			objects[filepath.Base(path)] = testkit.ReadFile(t, path)
		}
	}
	if len(objects) < 9 {
		t.Fatalf("%d objects, want the four of testdata and the five stock programs", len(objects))
	}
	compared := 0
	for name, object := range objects {
		o, err := LoadELF(object)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		spec, err := btf.LoadSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		id := func(y btf.Type) btf.TypeID {
			if _, void := y.(*btf.Void); void {
				return 0
			}
			n, err := spec.TypeID(y)
			if err != nil {
				t.Fatalf("%s: %v: %v", name, y, err)
			}
			return n
		}
		for i := 1; i < len(o.BTF.types); i++ {
			theirs, err := spec.TypeByID(btf.TypeID(i))
			if err != nil {
				t.Fatalf("%s: type %d: %v", name, i, err)
			}
			if got, want := describe(&o.BTF.types[i]), describeCilium(theirs, id); got != want {
				t.Errorf("%s: type %d:\n%s\nwant\n%s", name, i, got, want)
			}
			compared++
		}
		if _, err := spec.TypeByID(btf.TypeID(len(o.BTF.types))); err == nil {
			t.Errorf("%s: cilium has more than %d types", name, len(o.BTF.types))
		}
	}
	if compared < 500 {
		t.Errorf("%d types compared, want hundreds", compared)
	}
}

func describe(y *Type) string {
	ref := func(y *Type) uint32 {
		if y == nil {
			return 0
		}
		return y.id
	}
	members := ""
	for _, m := range y.Members {
		members += fmt.Sprintf(" %s:%d@%d/%d", m.Name, ref(m.Type), m.Offset, m.Bits)
	}
	switch y.Kind {
	case KindInt:
		return fmt.Sprintf("int %s %d signed=%v bool=%v", y.Name, y.Size, y.Signed, y.Bool)
	case KindArray:
		return fmt.Sprintf("array of %d, %d", ref(y.Elem), y.Count)
	case KindStruct, KindUnion:
		return fmt.Sprintf("composite %d %s %d%s", y.Kind, y.Name, y.Size, members)
	case KindEnum, KindEnum64:
		s := fmt.Sprintf("enum %s %d signed=%v", y.Name, y.Size, y.Signed)
		mask := ^uint64(0)
		if y.Size < 8 {
			mask = 1<<(8*y.Size) - 1
		}
		for _, v := range y.Values {
			s += fmt.Sprintf(" %s=%#x", v.Name, v.Value&mask)
		}
		return s
	case KindForward:
		return "forward " + y.Name
	case KindFuncProto:
		s := fmt.Sprintf("proto %d", ref(y.Elem))
		for _, m := range y.Members {
			s += fmt.Sprintf(" %s:%d", m.Name, ref(m.Type))
		}
		return s
	case KindFunc, KindVar:
		return fmt.Sprintf("named %d %s of %d, linkage %d", y.Kind, y.Name, ref(y.Elem), y.Linkage)
	case KindDatasec:
		s := fmt.Sprintf("section %s", y.Name)
		for _, m := range y.Members {
			s += fmt.Sprintf(" %d/%d", ref(m.Type), m.Bits)
		}
		return s
	case KindFloat:
		return fmt.Sprintf("float %s %d", y.Name, y.Size)
	default:
		return fmt.Sprintf("ref %d %s to %d", y.Kind, y.Name, ref(y.Elem))
	}
}

func describeCilium(y btf.Type, id func(btf.Type) btf.TypeID) string {
	members := func(in []btf.Member) string {
		s := ""
		for _, m := range in {
			s += fmt.Sprintf(" %s:%d@%d/%d", m.Name, id(m.Type), m.Offset, m.BitfieldSize)
		}
		return s
	}
	ref := func(kind TypeKind, name string, to btf.Type) string {
		return fmt.Sprintf("ref %d %s to %d", kind, name, id(to))
	}
	switch y := y.(type) {
	case *btf.Int:
		return fmt.Sprintf("int %s %d signed=%v bool=%v", y.Name, y.Size, y.Encoding == btf.Signed, y.Encoding == btf.Bool)
	case *btf.Array:
		return fmt.Sprintf("array of %d, %d", id(y.Type), y.Nelems)
	case *btf.Struct:
		return fmt.Sprintf("composite %d %s %d%s", KindStruct, y.Name, y.Size, members(y.Members))
	case *btf.Union:
		return fmt.Sprintf("composite %d %s %d%s", KindUnion, y.Name, y.Size, members(y.Members))
	case *btf.Enum:
		s := fmt.Sprintf("enum %s %d signed=%v", y.Name, y.Size, y.Signed)
		mask := ^uint64(0)
		if y.Size < 8 {
			mask = 1<<(8*y.Size) - 1
		}
		for _, v := range y.Values {
			s += fmt.Sprintf(" %s=%#x", v.Name, v.Value&mask)
		}
		return s
	case *btf.Fwd:
		return "forward " + y.Name
	case *btf.FuncProto:
		s := fmt.Sprintf("proto %d", id(y.Return))
		for _, p := range y.Params {
			s += fmt.Sprintf(" %s:%d", p.Name, id(p.Type))
		}
		return s
	case *btf.Func:
		return fmt.Sprintf("named %d %s of %d, linkage %d", KindFunc, y.Name, id(y.Type), y.Linkage)
	case *btf.Var:
		return fmt.Sprintf("named %d %s of %d, linkage %d", KindVar, y.Name, id(y.Type), y.Linkage)
	case *btf.Datasec:
		// Size and offsets are 0 in the file; cilium fills them in.
		s := fmt.Sprintf("section %s", y.Name)
		for _, v := range y.Vars {
			s += fmt.Sprintf(" %d/%d", id(v.Type), v.Size)
		}
		return s
	case *btf.Float:
		return fmt.Sprintf("float %s %d", y.Name, y.Size)
	case *btf.Pointer:
		return ref(KindPointer, "", y.Target)
	case *btf.Typedef:
		return ref(KindTypedef, y.Name, y.Type)
	case *btf.Volatile:
		return ref(KindVolatile, "", y.Type)
	case *btf.Const:
		return ref(KindConst, "", y.Type)
	case *btf.Restrict:
		return ref(KindRestrict, "", y.Type)
	case *btf.TypeTag:
		return ref(KindTypeTag, y.Value, y.Type)
	default:
		return fmt.Sprintf("%T", y)
	}
}
