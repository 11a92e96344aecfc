package ring

import "github.com/prometheus/client_golang/prometheus"

// collector publishes how many instances a ring has in each state.
type collector struct {
	ring    *Ring
	members *prometheus.Desc
	tokens  *prometheus.Desc
}

func newCollector(r *Ring) *collector {
	labels := prometheus.Labels{"name": r.name}
	return &collector{
		ring:    r,
		members: prometheus.NewDesc("loki_ring_members", "Instances in the ring.", []string{"state"}, labels),
		tokens:  prometheus.NewDesc("loki_ring_tokens_total", "Tokens in the ring.", nil, labels),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.members
	ch <- c.tokens
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	v := c.ring.View()
	count := map[string]int{"PENDING": 0, "JOINING": 0, "ACTIVE": 0, "LEAVING": 0, "Unhealthy": 0}
	tokens := 0
	for _, i := range v.All() {
		state := i.State.String()
		if !v.Healthy(i) {
			state = "Unhealthy"
		}
		count[state]++
		tokens += len(i.Tokens)
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(c.members, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(c.tokens, prometheus.GaugeValue, float64(tokens))
}
