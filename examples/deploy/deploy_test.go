// Package deploy_test checks that what the files here start exists and takes the configuration that they give it.
package deploy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"example.com/loki"
	"example.com/loki/examples/internal/config"
)

const root = "../.." // of the repository, which is what images are built from

// process is what one container runs.
type process struct {
	name    string
	command []string
	env     map[string]string
	ports   []int  // that a service of the same name has; nil: all
	probe   string // path and port of the probe, if there is one
}

// groups and components are the targets that a deployment has to run.
func groups() []string { return []string{"backend", "read", "write"} }
func components() []string {
	all := slices.DeleteFunc(slices.Clone(loki.Targets()), func(t string) bool { return t == "all" || slices.Contains(groups(), t) })
	slices.Sort(all)
	return all
}

func TestDeployments(t *testing.T) {
	for _, c := range []struct {
		file    string
		read    func(*testing.T, string) []process
		targets []string
	}{
		{"compose.yaml", compose, groups()},
		{"compose-microservices.yaml", compose, components()},
		{"kubernetes/readwrite.yaml", kubernetes, groups()},
		{"kubernetes/microservices.yaml", kubernetes, components()},
	} {
		t.Run(c.file, func(t *testing.T) {
			all := c.read(t, c.file)
			var targets []string
			for _, p := range all {
				targets = append(targets, p.check(t, all)...)
			}
			slices.Sort(targets)
			if !slices.Equal(targets, c.targets) {
				t.Errorf("it runs %v, want %v", targets, c.targets)
			}
		})
	}
}

// check reads the configuration as the program would and returns its targets.
func (p process) check(t *testing.T, all []process) []string {
	t.Helper()
	program := p.command[0]
	args := slices.Clone(p.command[1:])
	source := path.Join("examples", program)
	if slices.Contains(components(), program) {
		source = path.Join("examples/microservices", program)
		args = append([]string{"-target=" + program}, args...) // as the program does
	}
	if _, err := os.Stat(filepath.Join(root, source, "main.go")); err != nil {
		t.Errorf("%s: the image has no program %s: %v", p.name, program, err)
	}
	files := copied(t)
	var text string
	for i, a := range args {
		name, ok := strings.CutPrefix(a, "-config.file=")
		if !ok {
			continue
		}
		if files[name] == "" {
			t.Fatalf("%s: the image has no file %s", p.name, name)
		}
		args[i] = "-config.file=" + filepath.Join(root, files[name])
		b, err := os.ReadFile(filepath.Join(root, files[name]))
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	cfg, err := config.Load(args, func(name string) (string, bool) { v, ok := p.env[name]; return v, ok })
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if len(cfg.Ignored) > 0 {
		t.Errorf("%s: without effect: %v", p.name, cfg.Ignored)
	}
	if p.probe != "" && p.probe != fmt.Sprintf("/ready %d", cfg.Server.HTTPPort) {
		t.Errorf("%s: it is probed at %s and listens on %d", p.name, p.probe, cfg.Server.HTTPPort)
	}
	for name, value := range p.env {
		used := strings.Contains(text, "${"+name+":-")
		switch {
		case used:
		case strings.HasPrefix(p.name, "compose:"): // they share one list
			used = inAnyFile(t, files, name)
		case strings.HasPrefix(name, "S3_") || name == "BUCKET":
			used = true // one secret has all
		}
		if !used {
			t.Errorf("%s: no configuration names the variable %s", p.name, name)
		}
		p.checkAddress(t, value, cfg, all)
	}
	return cfg.Target
}

// checkAddress makes sure that an address which a process is given leads to another one.
func (p process) checkAddress(t *testing.T, value string, cfg *config.Config, all []process) {
	t.Helper()
	scheme := regexp.MustCompile(`^dns(\+|:///)`).FindString(value)
	if scheme == "" {
		return
	}
	host, port, err := net.SplitHostPort(value[len(scheme):])
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	want := cfg.Server.GRPCPort
	if scheme == "dns+" {
		want = 7946 // of gossip, in all configurations
	}
	if port != strconv.Itoa(want) {
		t.Errorf("%s: %s is asked for on port %s, but listens on %d", p.name, host, port, want)
	}
	for _, q := range all {
		if q.name[strings.Index(q.name, ":")+1:] == host && (q.ports == nil || slices.Contains(q.ports, want)) {
			return
		}
	}
	t.Errorf("%s: nothing is at %s", p.name, value)
}

func inAnyFile(t *testing.T, files map[string]string, name string) bool {
	t.Helper()
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("${"+name+":-")) {
			return true
		}
	}
	return false
}

// copied returns what the Dockerfile puts into the image, by the names that it has there.
func copied(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if w := strings.Fields(lines.Text()); len(w) == 3 && w[0] == "COPY" && strings.HasPrefix(w[2], "/etc/") {
			files[w[2]] = w[1]
		}
	}
	if len(files) != 10 {
		t.Fatalf("the image has %d configurations, want 10: %v", len(files), slices.Sorted(maps.Keys(files)))
	}
	return files
}

type composeFile struct {
	Services map[string]struct {
		Entrypoint  []string
		Environment map[string]string
		Volumes     []string
		Deploy      struct{ Replicas int }
		DependsOn   []string `yaml:"depends_on"`
	}
}

func readCompose(t *testing.T, file string) composeFile {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc composeFile
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func compose(t *testing.T, file string) []process {
	t.Helper()
	var all []process
	doc := readCompose(t, file)
	for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
		s := doc.Services[name]
		for _, d := range s.DependsOn {
			if _, ok := doc.Services[d]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, d)
			}
		}
		if name == "s3" || name == "proxy" {
			continue
		}
		if !slices.Contains(s.Volumes, s.Environment["DATA"]) {
			t.Errorf("%s: its folder %s is no volume", name, s.Environment["DATA"])
		}
		all = append(all, process{name: "compose:" + name, command: s.Entrypoint, env: s.Environment})
	}
	return all
}

// manifest is as much of Kubernetes' objects as matters here.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ServiceName string `yaml:"serviceName"`
		Selector    yaml.Node
		Ports       []struct{ Port int }
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Volumes    []struct{ Name string }
				Containers []struct {
					Command []string
					Env     []struct {
						Name, Value string
						ValueFrom   yaml.Node `yaml:"valueFrom"`
					}
					EnvFrom        []struct{ SecretRef struct{ Name string } } `yaml:"envFrom"`
					ReadinessProbe struct {
						HTTPGet struct {
							Path string
							Port int
						} `yaml:"httpGet"`
					} `yaml:"readinessProbe"`
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

func kubernetes(t *testing.T, file string) []process {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	services := map[string]manifest{}
	var loads []manifest
	for dec := yaml.NewDecoder(f); ; {
		var m manifest
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch m.Kind {
		case "Service":
			services[m.Metadata.Name] = m
		case "Deployment", "StatefulSet":
			loads = append(loads, m)
		case "PodDisruptionBudget":
		default:
			t.Fatalf("a %s is not expected", m.Kind)
		}
	}
	var all []process
	for _, m := range loads {
		name := m.Metadata.Name
		service, ok := services[name]
		if !ok {
			t.Errorf("%s has no Service", name)
		}
		var sel, match struct {
			App, Part   string
			MatchLabels struct{ App, Part string } `yaml:"matchLabels"`
		}
		if err := errors.Join(service.Spec.Selector.Decode(&sel), m.Spec.Selector.Decode(&match)); err != nil {
			t.Fatal(err)
		}
		if l := m.Spec.Template.Metadata.Labels; l["app"] != sel.App || l["part"] != sel.Part || l["app"] != match.MatchLabels.App || l["part"] != match.MatchLabels.Part {
			t.Errorf("%s: labels %v, selected by %+v and %+v", name, l, sel, match)
		}
		if m.Kind == "StatefulSet" && (m.Spec.ServiceName != name || len(m.Spec.VolumeClaimTemplates) != 1) {
			t.Errorf("%s: a StatefulSet needs its Service and a volume", name)
		}
		c := m.Spec.Template.Spec.Containers[0]
		p := process{name: name, command: c.Command, env: map[string]string{}, ports: []int{}}
		for _, e := range c.Env {
			p.env[e.Name] = e.Value
			if !e.ValueFrom.IsZero() {
				p.env[e.Name] = map[string]string{"NAME": name + "-0", "ADDR": "10.0.0.1"}[e.Name]
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef.Name == "loki-s3" {
				maps.Copy(p.env, map[string]string{
					"S3_ENDPOINT": "s3.example.com", "S3_KEY": "key", "S3_SECRET": "secret", "S3_REGION": "here", "S3_INSECURE": "false", "BUCKET": "logs",
				})
			}
		}
		for _, port := range service.Spec.Ports {
			p.ports = append(p.ports, port.Port)
		}
		p.probe = fmt.Sprintf("%s %d", c.ReadinessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Port)
		if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/var/loki" {
			t.Errorf("%s: mounts %+v, want its folder /var/loki", name, c.VolumeMounts)
		}
		all = append(all, p)
	}
	return all
}

// TestProxies compares what HAProxy knows of with what Compose starts.
func TestProxies(t *testing.T) {
	server := regexp.MustCompile(`(?m)^    server-template \w+ (\d+) ([\w-]+):(\d+)$`)
	use := regexp.MustCompile(`(?m)^    (?:use_backend|default_backend) ([\w-]+)`)
	for proxy, file := range map[string]string{"haproxy.cfg": "compose.yaml", "haproxy-microservices.cfg": "compose-microservices.yaml"} {
		text, err := os.ReadFile(proxy)
		if err != nil {
			t.Fatal(err)
		}
		doc := readCompose(t, file)
		if !slices.ContainsFunc(doc.Services["proxy"].Volumes, func(v string) bool { return strings.HasPrefix(v, "./"+proxy+":") }) {
			t.Errorf("%s does not use %s", file, proxy)
		}
		known := map[string]bool{}
		for _, m := range server.FindAllStringSubmatch(string(text), -1) {
			s, ok := doc.Services[m[2]]
			if n := strconv.Itoa(max(s.Deploy.Replicas, 1)); !ok || n != m[1] || m[3] != "3100" {
				t.Errorf("%s: %s; %s starts %s", proxy, strings.TrimSpace(m[0]), file, n)
			}
			known[m[2]] = true
		}
		used := use.FindAllStringSubmatch(string(text), -1)
		if len(used) < 3 || len(known) < 3 {
			t.Fatalf("%s: found %d rules and %d backends", proxy, len(used), len(known))
		}
		for _, m := range used {
			if !known[m[1]] {
				t.Errorf("%s: there is no backend %s", proxy, m[1])
			}
		}
	}
}
