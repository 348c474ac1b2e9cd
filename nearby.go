// SPDX-License-Identifier: Apache-2.0

package peel

import (
	"fmt"
	"path/filepath"

	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/image"
	"github.com/peelboot/peel/image/uki"
	"github.com/peelboot/peel/parser"
	"github.com/peelboot/peel/trust"
)

// Nearby is what lies beside an image, read once: what the image's own stub
// would take under firmware. None of it is covered by the image's signature.
// What the policy refuses, and addons that are not made for the image, are
// left out as the stub leaves them out, and told.
//
// A signature covers a file's contents, not its name; the name of a
// credential says what it is for.
type Nearby struct {
	// Addons in the order in which they apply.
	Addons []File
	// Groups of files become archives, in the order of the stub.
	Groups []NearbyGroup

	parts []*Part
}

// NearbyGroup is a set of files that become one archive.
type NearbyGroup struct {
	beside.Group
	// Files are those of Group.Paths, in the same order.
	Files []File
}

// LeftOut tells of a file beside the image that is not used.
type LeftOut struct {
	Name string
	Err  error
}

// Nearby reads what lies beside the image, with the signatures beside each
// file. It fails with errors of the file system and of package beside, and
// when all files together are larger than Options.Limit.
func (im *Image) Nearby() (*Nearby, error) {
	n := &Nearby{}
	stub := beside.StubOf(im.info)
	if im.path == "" || im.path == "-" || !stub.Addons && !stub.Files {
		return n, nil
	}
	root := im.opts.Volume
	if root == "" {
		root = beside.RootOf(im.path)
	}
	found, err := stub.Find(im.path, root)
	if err != nil {
		return nil, err
	}
	left := im.opts.limit()
	read := func(path string) (File, error) {
		// A limit of nothing would mean the default one.
		p, err := OpenPart(path, max(left, 1))
		if err != nil {
			return File{}, err
		}
		left -= int64(len(p.Data))
		n.parts = append(n.parts, p)
		return p.File, nil
	}
	for _, path := range found.Addons {
		f, err := read(path)
		if err != nil {
			n.Close()
			return nil, err
		}
		n.Addons = append(n.Addons, f)
	}
	for _, g := range found.Groups {
		ng := NearbyGroup{Group: g}
		for _, path := range g.Paths {
			f, err := read(path)
			if err != nil {
				n.Close()
				return nil, err
			}
			ng.Files = append(ng.Files, f)
		}
		n.Groups = append(n.Groups, ng)
	}
	return n, nil
}

// Close gives the memory back.
func (n *Nearby) Close() error {
	for _, p := range n.parts {
		p.Close()
	}
	n.parts = nil
	return nil
}

// chosen is what of the additions takes part in a boot.
type chosen struct {
	addons   []File
	groups   []NearbyGroup
	firmware *File
	leftOut  []LeftOut
}

// choose judges addons and what lies beside the image, and extends the report
// by what is used. What the operator named must be allowed; what was found is
// left out when it is not.
func (im *Image) choose(r *trust.Report, add Additions) (*chosen, error) {
	c := &chosen{}
	if n := add.Nearby; n != nil {
		for _, f := range n.Addons {
			err := im.allow(r, trust.RoleAddon, f)
			if err == nil {
				err = uki.CheckAddon(im.info.PE, im.opts.Profile, f.Data)
			}
			if err != nil {
				c.leftOut = append(c.leftOut, LeftOut{f.Name, err})
				continue
			}
			c.addons = append(c.addons, f)
		}
		for _, g := range n.Groups {
			kept := NearbyGroup{Group: g.Group}
			for _, f := range g.Files {
				if err := im.allow(r, trust.RoleInitrd, f); err != nil {
					c.leftOut = append(c.leftOut, LeftOut{f.Name, err})
					continue
				}
				kept.Files = append(kept.Files, f)
			}
			if len(kept.Files) > 0 {
				c.groups = append(c.groups, kept)
			}
		}
	}
	if f := add.Firmware; f != nil && len(f.Data) > 0 && beside.StubOf(im.info).SMBIOS {
		if err := im.allow(r, trust.RoleCmdline, *f); err != nil {
			c.leftOut = append(c.leftOut, LeftOut{f.Name, err})
		} else {
			c.firmware = f
		}
	}
	var objects []trust.Object
	for _, f := range add.Addons {
		objects = append(objects, f.object(trust.RoleAddon))
		c.addons = append(c.addons, f)
	}
	if len(objects) == 0 {
		return c, nil
	}
	return c, im.opts.Verifier.Extend(r, objects...)
}

// object is what a verifier is asked about f.
func (f *File) object(role trust.Role) trust.Object {
	o := trust.Object{Name: f.Name, Role: role, Data: f.Data, Sidecars: f.Sidecars, IMA: f.IMA}
	if role == trust.RoleAddon {
		o.Kind = image.Detect(f.Data).Kind
	}
	return o
}

// allow judges one file and extends the report by it when it may be used.
func (im *Image) allow(r *trust.Report, role trust.Role, f File) error {
	try := copyReport(r)
	if err := im.opts.Verifier.Extend(try, f.object(role)); err != nil {
		if l := &try.Layers[len(try.Layers)-1]; l.Err() != nil {
			return fmt.Errorf("%s: %w", l.Reason, l.Err())
		}
		return err
	}
	*r = *try
	return nil
}

func copyReport(r *trust.Report) *trust.Report {
	c := *r
	c.Layers = append([]trust.LayerReport(nil), r.Layers...)
	return &c
}

// parserAddons are those that the programs get.
func (c *chosen) parserAddons() []parser.Addon {
	var list []parser.Addon
	for _, f := range c.addons {
		list = append(list, parser.Addon{Name: f.Name, Data: f.Data})
	}
	return list
}

// archives packs the files of each group.
func (c *chosen) archives() ([]image.Part, error) {
	var list []image.Part
	for _, g := range c.groups {
		var members []beside.Member
		for _, f := range g.Files {
			members = append(members, beside.Member{Name: filepath.Base(f.Name), Data: f.Data})
		}
		b, err := g.Archive.Pack(members...)
		if err != nil {
			return nil, err
		}
		list = append(list, image.Part{Name: g.Archive.Target, Data: b, Origin: g.Name, Outside: true})
	}
	return list, nil
}

// split returns the parts of the image, and those of addons.
func split(parts []image.Part) (own, added []image.Part) {
	for _, p := range parts {
		if p.Outside {
			added = append(added, p)
		} else {
			own = append(own, p)
		}
	}
	return own, added
}
