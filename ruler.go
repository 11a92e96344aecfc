package loki

import (
	"errors"
	"io"

	"github.com/grafana/dskit/services"

	"example.com/loki/frontend"
	"example.com/loki/ring/member"
	"example.com/loki/ruler"
)

// RulerBuilder makes the ruler of an engine from its collaborators. Rules ask c.Frontend, which is set in any case;
// c.Bucket is for rules and their state; c.Rulers are those who share the work, if there are several. A ruler
// that is a dskit services.Service is started after what it asks and stopped before it.
type RulerBuilder func(c *Collaborators) (ruler.Service, error)

// Rulers are the rulers of all processes. The zero value is for one alone.
type Rulers struct {
	Ring member.Reader // nil: there are no others
	Self string        // the address of the one of this process
	// Dial returns the ruler at an address; the Closer ends the connection.
	Dial func(addr string) (ruler.Service, io.Closer, error)
}

func buildRuler(c *Collaborators) (ruler.Service, error) {
	if c.Config.Ruler == nil {
		return nil, errors.New("Config.Ruler is nil")
	}
	if c.Bucket == nil {
		return nil, errors.New("rules need a place: Config.Bucket or Config.Dir")
	}
	own := *c
	if own.Frontend == nil { // it asks the querier, whose tasks are then all its own
		f, err := frontend.New(c.Config.Frontend, c.Querier, c.Querier, c.Limits, c.Logger, nil)
		if err != nil {
			return nil, err
		}
		own.Frontend = f
	}
	return c.Config.Ruler(&own)
}

// rulerRing makes the reader of the ring of rulers, among whom groups of rules are shared out.
func (e *Engine) rulerRing() (services.Service, error) {
	s, err := e.ring(Ruler)
	if err != nil {
		return nil, err
	}
	if self, ok := e.cfg.Cluster.Membership.(interface{ Addr() string }); ok {
		e.parts.Rulers = Rulers{Ring: e.rings[Ruler], Self: self.Addr(), Dial: e.dialRuler}
	}
	return s, nil
}

func (e *Engine) dialRuler(addr string) (ruler.Service, io.Closer, error) {
	conn, err := (&connections{cfg: e.cfg.Cluster.GRPC}).dial(addr)
	if err != nil {
		return nil, nil, err
	}
	return ruler.NewClient(conn), conn, nil
}
