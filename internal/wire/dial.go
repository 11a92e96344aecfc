package wire

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// DialAll is Dial for one address or several, separated by commas, or "dns:///host:port" for all addresses of a name.
// Calls take turns among them.
func DialAll(addr string, cfg Config) (*grpc.ClientConn, error) {
	target := addr
	// Whoever is asked next is not who was asked last, and those who don't answer are left out.
	options := []grpc.DialOption{grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`)}
	if list := Addresses(addr); len(list) > 1 {
		static := manual.NewBuilderWithScheme("static")
		var state resolver.State
		for _, a := range list {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
		}
		static.InitialState(state)
		target = "static:///" + list[0] // it is also the name that certificates are checked for
		options = append(options, grpc.WithResolvers(static))
	}
	return Dial(target, cfg, options...)
}

// Addresses returns the members of a list.
func Addresses(addr string) []string {
	var list []string
	for a := range strings.SplitSeq(addr, ",") {
		if a = strings.TrimSpace(a); a != "" {
			list = append(list, a)
		}
	}
	return list
}
