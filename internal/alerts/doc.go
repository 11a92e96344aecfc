// Package alerts tests rules with the programs that they are for: Prometheus and Alertmanager as processes, and
// several rulers of which one is killed. Set LOKI_RULES=1 to run it; prometheus and prometheus-alertmanager (Debian's
// packages have these names) must be installed.
package alerts
