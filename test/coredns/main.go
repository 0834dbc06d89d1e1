// SPDX-License-Identifier: Apache-2.0

// The CoreDNS that stands between pod and gate64 in the end-to-end tests: the real server with the plugins that a
// cluster's Corefile uses, and no others, so that it builds in seconds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order in which a query meets the plugins; the relative order is that of CoreDNS's own plugin.cfg.
	dnsserver.Directives = []string{
		"bind", "health", "ready", "prometheus", "errors", "log", "dns64", "cache", "hosts", "file", "loop", "forward",
	}
	coremain.Run()
}
