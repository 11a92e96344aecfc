package ring

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"time"

	"example.com/loki/internal/route"
	"example.com/loki/ring/member"
)

//go:embed page.gohtml
var pageText string

// page is what a ring's page shows. Its JSON is that of Loki's ring pages.
type page struct {
	Name      string         `json:"-"`
	Instances []pageInstance `json:"shards"`
	Now       time.Time      `json:"now"`
	Tokens    bool           `json:"-"` // show them
	Local     bool           `json:"-"` // the ring is in this process alone
	Problem   string         `json:"-"`
}

type pageInstance struct {
	ID         string    `json:"id"`
	State      string    `json:"state"`
	Addr       string    `json:"address"`
	Heartbeat  time.Time `json:"timestamp"`
	Registered time.Time `json:"registered_timestamp"`
	Zone       string    `json:"zone"`
	Tokens     []uint32  `json:"tokens"`

	Age       time.Duration `json:"-"`
	Ownership float64       `json:"-"` // percent of the keys
}

// Routes returns the page of the ring at a path such as /ring. It is HTML, or JSON for those who accept that. A
// POST of forget=<id> removes an instance from the ring; one that is alive comes back with its next heartbeat.
func (r *Ring) Routes(path string) []route.Route {
	tpl, err := template.New("ring").Parse(pageText)
	h := func(w http.ResponseWriter, req *http.Request) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.serve(w, req, tpl)
	}
	return []route.Route{{Path: path, Handler: http.HandlerFunc(h)}}
}

func (r *Ring) serve(w http.ResponseWriter, req *http.Request, tpl *template.Template) {
	if req.Method == http.MethodPost {
		id := req.FormValue("forget")
		if id == "" {
			http.Error(w, "forget needs the id of an instance", http.StatusBadRequest)
			return
		}
		if err := r.forget(req.Context(), id); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		r.m.logger.Info("instance forgotten by request", "ring", r.name, "instance", id)
		// A relative address: behind a proxy only the browser knows the absolute one.
		w.Header().Set("Location", "?")
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	v := r.View()
	p := page{Name: r.name, Now: time.Now().UTC(), Tokens: req.FormValue("tokens") == "true", Local: r.m.local != nil, Instances: []pageInstance{}}
	if want := v.Quorum(); v.Count() < want {
		p.Problem = v.Shortage(want).Error()
	}
	owned := v.Ownership()
	for n, i := range v.All() {
		p.Instances = append(p.Instances, describe(v, i, p.Now, owned[n]))
	}
	if strings.Contains(req.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p) // the client has gone: nobody to tell
		return
	}
	var b bytes.Buffer
	if err := tpl.Execute(&b, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

func describe(v member.View, i *member.Instance, now time.Time, owned float64) pageInstance {
	p := pageInstance{ID: i.ID, State: i.State.String(), Addr: i.Addr, Heartbeat: i.Heartbeat.UTC(), Registered: i.Registered.UTC(),
		Zone: i.Zone, Tokens: i.Tokens, Age: now.Sub(i.Heartbeat).Round(time.Second), Ownership: 100 * owned}
	if !v.Healthy(i) {
		p.State = "UNHEALTHY"
	}
	return p
}

// Routes returns the page /memberlist: who gossips with this process, and what it knows.
func (m *Membership) Routes() []route.Route {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("This process keeps its rings in memory and gossips with nobody.\n"))
	})
	if m.init != nil {
		h = m.init
	}
	return []route.Route{{Path: "/memberlist", Handler: h}}
}
