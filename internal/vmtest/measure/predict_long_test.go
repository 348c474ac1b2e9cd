// SPDX-License-Identifier: Apache-2.0

//go:build long

package measure

import "testing"

// TestPredictionMore is TestPrediction for other kernels, and Secure Boot the other way round.
func TestPredictionMore(t *testing.T) {
	for _, tt := range []boot{
		{name: "257 kernel 6.1", kernel: "6.1", stub: "trixie", pcrs: allPCRs()},
		{name: "257", kernel: "6.12", stub: "trixie", beside: true, pcrs: allPCRs()},
		{name: "257 pcrlock", kernel: "6.12", stub: "trixie", pcrlock: true, pcrs: allPCRs()},
		{name: "newest secure", kernel: "6.12", stub: "forky", secure: true, beside: true, pcrs: allPCRs()},
		{name: "252", kernel: "6.12", stub: "bookworm", objcopy: true, beside: true, pcrs: allPCRs()},
		{name: "257 owner", kernel: "6.12", stub: "trixie", secure: true, shim: true, owner: true, beside: true, pcrs: append(allPCRs(), 14)},
		{name: "257 hardware", kernel: "6.12", stub: "trixie", beside: true, hardware: true, pcrs: allPCRs()},
		{name: "newest hardware secure", kernel: "6.12", stub: "forky", secure: true, beside: true, hardware: true, pcrs: allPCRs()},
		{name: "newest profile", kernel: "6.12", stub: "forky", profile: 2, pcrs: []uint32{9, 11, 12, 13}},
		// Its package has no modules, so that the variables cannot be read and PCR 7 not foretold.
		{name: "newest kernel", kernel: "new", stub: "forky", pcrs: []uint32{4, 9, 11, 12, 13}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t) })
	}
}
