package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/internal/route"
)

// Lone is what the page of a ring shows in a process that has no ring.
type Lone struct {
	Component string
	ID        string        // of the process
	State     func() string // of the component here, "" if it runs elsewhere
	Address   string        // … where that is, if it is known
}

// NoRing returns a page in place of that of a ring: text, or for those who accept that the JSON of ring pages with the
// one instance that there is.
func NoRing(path string, l Lone) []route.Route {
	return []route.Route{{Path: path, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "there is no ring of which an instance could be forgotten", http.StatusNotFound)
			return
		}
		state := l.State()
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(l.page(state)) // the client has gone: nobody to tell
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		switch {
		case state != "":
			fmt.Fprintf(w, "There is no ring: this process uses the %s that it runs itself, which is %s.\n", l.Component, ringState(state))
		case l.Address != "":
			fmt.Fprintf(w, "There is no ring: this process finds the %s at %s.\n", l.Component, l.Address)
		default:
			fmt.Fprintf(w, "There is no ring, and no %s that this process needs.\n", l.Component)
		}
	})}}
}

type lonePage struct {
	Instances []loneInstance `json:"shards"`
	Now       time.Time      `json:"now"`
}

type loneInstance struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	Addr       string    `json:"address"`
	Heartbeat  time.Time `json:"timestamp"`
	Registered time.Time `json:"registered_timestamp"`
	Zone       string    `json:"zone"`
	Tokens     []uint32  `json:"tokens"`
}

func (l Lone) page(state string) lonePage {
	p := lonePage{Instances: []loneInstance{}, Now: time.Now().UTC()}
	if state != "" {
		p.Instances = append(p.Instances, loneInstance{ID: l.ID, State: ringState(state), Heartbeat: p.Now, Tokens: []uint32{}})
	}
	return p
}

// ringState is what a member of a ring would say of itself.
func ringState(state string) string {
	switch state {
	case services.Running.String():
		return "ACTIVE"
	case services.New.String(), services.Starting.String():
		return "JOINING"
	case services.Failed.String():
		return "UNHEALTHY"
	}
	return "LEAVING"
}

// NoGossip returns a page in place of that of gossip.
func NoGossip(path string) []route.Route {
	return []route.Route{{Path: path, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("This process is no member of a cluster: it gossips with nobody.\n"))
	})}}
}
