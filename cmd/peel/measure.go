// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peelboot/peel"
	"github.com/peelboot/peel/beside"
	"github.com/peelboot/peel/machine"
	"github.com/peelboot/peel/measure"
	"github.com/peelboot/peel/measure/eventlog"
	"github.com/peelboot/peel/measure/tpm"
	"github.com/peelboot/peel/trust/keyring"
)

// measureFlags are the flags of measure.
type measureFlags struct {
	banks   []string
	pcrs    []int
	phases  []string
	explain bool

	efivars    string
	here       bool
	secureBoot string
	before     []string
	options    string
	smbios     string
	initrd     string
	profile    int
	alone      bool
	volume     string

	sign, policy  bool
	key, appendTo string

	log, ima string
	running  bool
	verify   bool
	compare  string
	device   string
	write    string
	format   string

	run runFlags
}

func (a *app) measureCommand() *cobra.Command {
	var f measureFlags
	cmd := &cobra.Command{
		Use:   "measure [IMAGE]",
		Short: "Foretell the TPM registers of a boot, show and check event logs",
		Long: `With IMAGE, compute what its boot leaves in the registers of a TPM, from the file alone: PCR 4 (images that
firmware loads), 7 (Secure Boot, with --efivars or --here), 9 (load options and initrd), 11 (sections, with the
boot phases of --phase), 12 (command line, addons, credentials, profile) and 13 (system extensions). An image
with profiles or device trees to choose from gives a set of values, one per case.

With --log or --running, show an event log and the registers that it explains. --verify compares a log with the
TPM: that of the running system, or the one that peel handed over from the kernel before a measured kexec
('peel load --measure'). --compare tells where a log and the prediction for IMAGE part.

With --via run the image's own EFI stub runs in a process and measures itself, into registers and a log of
software: then the prediction is exactly what stub and kernel do, also where peel does not know the stub. As it
runs code of the image, the image is verified first, by the same rules as for load (--policy, --cert …).
'--via run --compare parse' tells where the two predictions part.

--sign writes signed policies for PCR 11 as 'systemd-measure sign' does; --policy-digest writes the policies
alone, over the registers of --pcr.`,
		Example: `  peel measure linux.efi --here --explain
  peel measure linux.efi --sign --private-key pcr.pem > pcrsig.json
  peel measure --running
  peel measure linux.efi --compare running --here
  peel measure linux.efi --via run --cert db.pem --explain
  peel measure --verify                        # after a measured kexec`,
		GroupID: "look",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.do(a, cmd, args)
		},
	}
	a.jsonFlag(cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&f.banks, "bank", nil, "`ALGORITHM` of the registers: sha1, sha256, sha384, sha512 (repeatable; default all, in text sha256)")
	fs.IntSliceVar(&f.pcrs, "pcr", nil, "show these `REGISTERS` only, such as 4,7,11")
	fs.StringArrayVar(&f.phases, "phase", nil, "boot `PHASE` for PCR 11, such as enter-initrd:leave-initrd (repeatable)")
	fs.BoolVar(&f.explain, "explain", false, "print each extend with its event")
	fs.StringVar(&f.efivars, "efivars", "", "Secure Boot variables from `DIR`: efivarfs, a copy, or db.esl, dbx.auth, …")
	fs.BoolVar(&f.here, "here", false, "Secure Boot variables of this machine, and what its SMBIOS has for the command line (as root)")
	fs.StringVar(&f.secureBoot, "secure-boot", "", "take Secure Boot as `on or off` whatever the variables say")
	fs.StringArrayVar(&f.before, "before", nil, "firmware starts the image in `FILE` before, a boot loader (repeatable)")
	fs.StringVar(&f.options, "load-options", "", "load options of the image: '@N' for a profile, or a command line in `TEXT`")
	fs.StringVar(&f.smbios, "smbios-cmdline", "", "`TEXT` for the command line that SMBIOS has, as io.systemd.stub.kernel-cmdline-extra (default with --here: this machine's)")
	fs.StringVar(&f.initrd, "initrd", "", "initial RAM disk of an image that has none inside")
	fs.IntVar(&f.profile, "profile", -1, "only the profile with this `NUMBER`")
	fs.BoolVar(&f.alone, "no-beside", false, "take no addons, credentials and extensions from beside the image")
	fs.StringVar(&f.volume, "esp", "", "the image's volume is mounted at `DIR` (default: above the directory EFI it lies in)")
	fs.BoolVar(&f.sign, "sign", false, "write signed policies for PCR 11 and the phases as JSON, the contents of .pcrsig")
	fs.BoolVar(&f.policy, "policy-digest", false, "write policy digests as JSON")
	fs.StringVar(&f.key, "private-key", "", "sign with this RSA `KEY`: a file, pkcs11:… or tpm:HANDLE")
	fs.StringVar(&f.appendTo, "append", "", "add to the signatures in `FILE`")
	fs.StringVar(&f.log, "log", "", "read the event log in `FILE`: the firmware's, CEL in JSON or CBOR, or IMA's list")
	fs.BoolVar(&f.running, "running", false, "read the event log of the running system")
	fs.BoolVar(&f.verify, "verify", false, "compare the log's replay with the TPM")
	fs.StringVar(&f.compare, "compare", "", "tell where the log in `FILE` ('running' for this system's, with --via run 'parse' for what peel computes) parts from the prediction")
	fs.StringVar(&f.ima, "ima", "", "add the list of IMA measurements in `FILE` to the log")
	fs.StringVar(&f.device, "tpm", "", "TPM `DEVICE` or socket (default "+tpm.Device+")")
	fs.StringVar(&f.write, "write", "", "write the events as a log to `FILE`")
	fs.StringVar(&f.format, "format", "tcg2", "`FORMAT` of --write: tcg2, cel-json or cel-cbor")
	f.run.add(cmd)
	sourceFlags(fs)
	return cmd
}

func (f *measureFlags) do(a *app, cmd *cobra.Command, args []string) error {
	banks, err := f.hashes()
	if err != nil {
		return err
	}
	for _, p := range f.pcrs {
		if p < 0 || p > 23 {
			return usagef("--pcr %d, want 0 to 23", p)
		}
	}
	logged := f.log != "" || f.running
	runs, err := f.runs()
	if err != nil {
		return err
	}
	switch {
	case runs && len(args) == 0:
		return usagef("--via run needs IMAGE")
	case len(args) == 1 && logged:
		return usagef("either IMAGE or a log; --compare takes both")
	case len(args) == 0 && (f.compare != "" || f.sign):
		return usagef("--compare and --sign need IMAGE")
	case f.sign && f.key == "":
		return usagef("--sign needs --private-key")
	case f.verify && len(args) == 1:
		return usagef("--verify checks a log, not an image")
	case f.secureBoot != "" && f.secureBoot != "on" && f.secureBoot != "off":
		return usagef("--secure-boot %q, want on or off", f.secureBoot)
	case len(args) == 1:
		return f.image(a, cmd, args[0], banks)
	case f.verify:
		return f.check(a)
	case logged:
		return f.show(a, banks)
	}
	return usagef("measure needs IMAGE, --log, --running or --verify")
}

func (f *measureFlags) hashes() ([]eventlog.Hash, error) {
	if len(f.banks) == 0 {
		return eventlog.Banks(), nil
	}
	var out []eventlog.Hash
	for _, s := range f.banks {
		h, err := eventlog.ParseHash(s)
		if err != nil || !h.Available() {
			return nil, usagef("--bank %q, want sha1, sha256, sha384 or sha512", s)
		}
		out = append(out, h)
	}
	return out, nil
}

// shown reports whether a register was asked for.
func (f *measureFlags) shown(pcr uint32) bool {
	return len(f.pcrs) == 0 || slices.Contains(f.pcrs, int(pcr))
}

// textBanks are the banks that text shows: one is enough for people.
func (f *measureFlags) textBanks(all []eventlog.Hash) []eventlog.Hash {
	if len(f.banks) == 0 && slices.Contains(all, eventlog.SHA256) {
		return []eventlog.Hash{eventlog.SHA256}
	}
	return all
}

// maxImage bounds the image in bytes.
const maxImage = 4 << 30

func (f *measureFlags) gather(a *app, cmd *cobra.Command, path string, banks []eventlog.Hash) (measure.Options, error) {
	o := measure.Options{Banks: banks, LoadOptions: f.options}
	var err error
	dir := f.efivars
	if f.here {
		dir = filepath.Join(a.root, keyring.EFIVarsDir)
	}
	if dir != "" {
		if o.Firmware, err = measure.ReadFirmware(dir); err != nil {
			return o, err
		}
	}
	if o.SMBIOS = f.smbios; f.here && !cmd.Flags().Changed("smbios-cmdline") {
		m, err := a.machine()
		if err != nil {
			return o, err
		}
		if o.SMBIOS = firmwareWords(m); m.SMBIOS.Cmdline.State == machine.NotPermitted {
			fmt.Fprintf(a.err, "peel: warning: what SMBIOS has for the command line is left out: %s\n", oneLine(m.SMBIOS.Cmdline.Why))
		}
	}
	if f.secureBoot != "" {
		on := f.secureBoot == "on"
		o.SecureBoot = &on
	}
	if f.profile >= 0 {
		o.Profile = &f.profile
	}
	for _, p := range f.before {
		b, err := readFile(p, maxImage)
		if err != nil {
			return o, err
		}
		o.Before = append(o.Before, measure.File{Name: filepath.Base(p), Data: b})
	}
	if f.initrd != "" {
		if o.Initrd, err = readFile(f.initrd, maxImage); err != nil {
			return o, err
		}
	}
	if !f.alone && path != "-" {
		volume := f.volume
		if volume == "" {
			volume = beside.RootOf(path)
		}
		if o.Beside, err = measure.ReadBeside(path, volume); err != nil {
			return o, err
		}
	}
	return o, nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().IsRegular() && fi.Size() > limit {
		return nil, fmt.Errorf("%s: %s, at most %s", path, size(uint64(fi.Size())), size(uint64(limit)))
	}
	return os.ReadFile(path)
}

// predicted is what measure says of an image in JSON.
type predicted struct {
	*measure.Prediction
	Phases      [][]measure.PhaseValue `json:"-"`
	PhaseValues []phaseCase            `json:"phases,omitempty"`
	Differences []measure.Difference   `json:"differences,omitempty"`
}

type phaseCase struct {
	Case   string                          `json:"case,omitempty"`
	Values map[string][]measure.PhaseValue `json:"values"`
}

// predict computes from the file.
func (f *measureFlags) predict(a *app, path string, o measure.Options) (*measure.Prediction, error) {
	im, err := peel.Open(path, peel.Options{Logger: a.logger()})
	if err != nil {
		return nil, err
	}
	defer im.Close()
	return measure.Predict(im.Name(), im.Bytes(), o)
}

func (f *measureFlags) image(a *app, cmd *cobra.Command, path string, banks []eventlog.Hash) error {
	o, err := f.gather(a, cmd, path, banks)
	if err != nil {
		return err
	}
	if f.run.cc != "" {
		return f.confidential(a, cmd, path, o)
	}
	var p *measure.Prediction
	if f.run.via == "run" {
		p, err = f.predictRun(a, cmd, path, o)
	} else {
		p, err = f.predict(a, path, o)
	}
	if err != nil {
		return err
	}
	if f.run.via == "run" && f.compare == "parse" {
		parsed, err := f.predict(a, path, o)
		if err != nil {
			return err
		}
		return f.parted(a, parsed, p.Cases[0].Log(banks))
	}
	switch {
	case f.sign || f.policy:
		return f.policies(a, cmd, p, banks)
	case f.compare != "":
		return f.part(a, p)
	case f.write != "":
		c, err := f.only(p)
		if err != nil {
			return err
		}
		if err := f.save(a, c.Log(banks)); err != nil {
			return err
		}
	}
	out := predicted{Prediction: p}
	for i := range p.Cases {
		c := &p.Cases[i]
		if len(f.phases) > 0 && p.Stub != nil {
			list, err := c.Phases(banks, f.phases)
			if err != nil {
				return err
			}
			out.Phases = append(out.Phases, list)
			pc := phaseCase{Case: c.Name, Values: map[string][]measure.PhaseValue{}}
			for _, v := range list {
				pc.Values[v.Hash.String()] = append(pc.Values[v.Hash.String()], v)
			}
			out.PhaseValues = append(out.PhaseValues, pc)
		}
		f.limit(c.Values)
		c.Events = slices.DeleteFunc(c.Events, func(e eventlog.Event) bool { return !f.shown(e.PCR) })
		if !f.explain {
			c.Events = nil
		}
	}
	if a.json {
		return printJSON(a.out, out)
	}
	f.printPrediction(a, &out, banks)
	return nil
}

// limit takes out the registers that were not asked for.
func (f *measureFlags) limit(v eventlog.Values) {
	for _, regs := range v {
		for pcr := range regs {
			if !f.shown(pcr) {
				delete(regs, pcr)
			}
		}
	}
}

// only is the case that there is, or an error that names the choice.
func (f *measureFlags) only(p *measure.Prediction) (*measure.Case, error) {
	if len(p.Cases) == 1 {
		return &p.Cases[0], nil
	}
	var names []string
	for _, c := range p.Cases {
		names = append(names, c.Name)
	}
	return nil, fmt.Errorf("the image can boot in %d ways (%s): choose one with --profile: %w", len(p.Cases), strings.Join(names, "; "), measure.ErrCase)
}

func (f *measureFlags) printPrediction(a *app, p *predicted, banks []eventlog.Hash) {
	fmt.Fprintf(a.out, "%s: %s", oneLine(p.Image), p.Kind)
	if p.Stub != nil && p.Stub.Name != "" {
		fmt.Fprintf(a.out, ", %s", oneLine(p.Stub.Name))
	}
	fmt.Fprintf(a.out, ", Secure Boot %s\n", map[bool]string{true: "on", false: "off"}[p.SecureBoot])
	for _, n := range p.Notes {
		fmt.Fprintf(a.out, "note: %s\n", oneLine(n))
	}
	for i, c := range p.Cases {
		if c.Name != "" {
			fmt.Fprintf(a.out, "\ncase %s\n", oneLine(c.Name))
		}
		f.printEvents(a, c.Events, banks)
		for _, h := range f.textBanks(banks) {
			for _, pcr := range c.Values[h].PCRs() {
				fmt.Fprintf(a.out, "PCR %-2d %s %s\n", pcr, h, c.Values[h][pcr])
			}
		}
		if i < len(p.Phases) {
			for _, v := range p.Phases[i] {
				if slices.Contains(f.textBanks(banks), v.Hash) {
					fmt.Fprintf(a.out, "PCR %-2d %s %s in phase %s\n", v.PCR, v.Hash, v.Value, oneLine(v.Phase))
				}
			}
		}
	}
}

// printEvents prints one event a line with the digest of the shown bank.
func (f *measureFlags) printEvents(a *app, list []eventlog.Event, banks []eventlog.Hash) {
	for i := range list {
		e := &list[i]
		if !f.shown(e.PCR) {
			continue
		}
		digest := "-"
		if e.Extends() {
			for _, h := range f.textBanks(banks) {
				if d, ok := e.Digest(h); ok {
					digest = fmt.Sprintf("%x", d)
					break
				}
			}
		}
		kind := e.Type.String()
		if e.Content != eventlog.PCClient {
			kind = string(e.Content)
		}
		note := ""
		if ok, checked := e.Consistent(); checked && !ok {
			note = "  (digest is not that of the data)"
		}
		fmt.Fprintf(a.out, "extend %-2d %-32s %s  %s%s\n", e.PCR, oneLine(kind), digest, oneLine(e.Describe()), note)
	}
}

func (f *measureFlags) policies(a *app, cmd *cobra.Command, p *measure.Prediction, banks []eventlog.Hash) error {
	out := measure.PolicySignatures{}
	if f.appendTo != "" {
		b, err := readFile(f.appendTo, 16<<20)
		if err != nil {
			return err
		}
		if out, err = measure.ParsePolicySignatures(b); err != nil {
			return err
		}
	}
	phases := f.phases
	if len(phases) == 0 {
		phases = measure.DefaultPhases()
	}
	var key crypto.Signer
	if f.sign {
		var err error
		if key, _, err = openSigner(cmd, f.key); err != nil {
			return err
		}
	}
	for i := range p.Cases {
		c := &p.Cases[i]
		var more measure.PolicySignatures
		switch {
		case f.sign:
			values, err := c.Phases(banks, phases)
			if err != nil {
				return err
			}
			if more, err = measure.Sign(values, key); err != nil {
				return err
			}
		case len(f.pcrs) > 0:
			more = measure.PolicySignatures{}
			for _, h := range banks {
				regs := eventlog.Registers{}
				var pcrs []uint32
				for pcr, v := range c.Values[h] {
					if f.shown(pcr) {
						regs[pcr] = v
					}
				}
				if pcrs = regs.PCRs(); len(pcrs) != len(f.pcrs) {
					return fmt.Errorf("of the registers %v only %v can be foretold: %w", f.pcrs, pcrs, measure.ErrCase)
				}
				more[h.String()] = []measure.PolicySignature{{PCRs: pcrs, Policy: measure.PolicyDigest(h, regs)}}
			}
		default:
			values, err := c.Phases(banks, phases)
			if err != nil {
				return err
			}
			if more, err = measure.Policies(values, nil); err != nil {
				return err
			}
		}
		out.Merge(more)
	}
	enc, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", enc)
	return err
}
