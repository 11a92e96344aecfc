package limits

// OTLP says what becomes of the attributes of OpenTelemetry logs. Rules are looked at in their order; the first that names an
// attribute applies. An attribute that no rule names is structured metadata, but a label if it is one of Labels.
type OTLP struct {
	Resource []OTLPRule // of attributes of resources
	Scope    []OTLPRule // of scopes; nothing can be a label
	Log      []OTLPRule // of records; nothing can be a label

	// Labels are the attributes of resources that are labels of streams if no rule says otherwise.
	Labels []string
	// IgnoreLabels makes Labels mean nothing.
	IgnoreLabels bool

	// SeverityTextAsLabel makes the severity of records, as it is written, the label severity_text in place of metadata of that name.
	SeverityTextAsLabel bool
}

// What a rule does with an attribute.
const (
	OTLPLabel    = "index_label"
	OTLPMetadata = "structured_metadata"
	OTLPDrop     = "drop"
)

// OTLPRule says what becomes of some attributes. Names are as they are sent, dots included; those of nested ones are joined by "_".
type OTLPRule struct {
	Action     string   // one of the constants above
	Attributes []string // their names
	Regex      string   // unless empty, also those whose whole name it matches; a bad one matches nothing
}

// DefaultOTLPLabels returns the attributes that are labels by default, as in Loki.
func DefaultOTLPLabels() []string {
	return []string{
		"service.name", "service.namespace", "service.instance.id", "deployment.environment", "deployment.environment.name",
		"cloud.region", "cloud.availability_zone", "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name",
		"container.name", "k8s.replicaset.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name",
		"k8s.cronjob.name", "k8s.job.name",
	}
}
