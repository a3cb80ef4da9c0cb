package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// manifests is kubernetes/atoll.yaml, each object in the type of its kind.
type manifests struct {
	config   corev1.ConfigMap
	services map[string]*corev1.Service
	budget   policyv1.PodDisruptionBudget
	set      appsv1.StatefulSet
}

// readManifests decodes them strictly: a field that Kubernetes does not know is
// an error here, and would be ignored there.
func readManifests(t *testing.T) *manifests {
	t.Helper()
	m := &manifests{services: map[string]*corev1.Service{}}
	for _, doc := range bytes.Split(read(t, "kubernetes/atoll.yaml"), []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		service := new(corev1.Service)
		into := map[string]any{
			"v1 Namespace": new(corev1.Namespace), "v1 ConfigMap": &m.config,
			"v1 Service": service, "policy/v1 PodDisruptionBudget": &m.budget,
			"apps/v1 StatefulSet": &m.set,
		}[kind.APIVersion+" "+kind.Kind]
		if into == nil {
			t.Fatalf("an object of kind %s %s", kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Fatalf("%s: %v", kind.Kind, err)
		}
		if service.Name != "" {
			m.services[service.Name] = service
		}
	}
	return m
}

// TestKubernetes holds what the manifests name to what they define.
func TestKubernetes(t *testing.T) {
	m := readManifests(t)
	pod := labels.Set(m.set.Spec.Template.Labels)
	chosen := func(what string, selector *metav1.LabelSelector) {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(pod) {
			t.Errorf("%s does not choose the pods: %v %v", what, selector, err)
		}
	}
	chosen("the set", m.set.Spec.Selector)
	chosen("the budget", m.budget.Spec.Selector)
	for name, s := range m.services {
		chosen("service "+name, metav1.SetAsLabelSelector(s.Spec.Selector))
		for _, p := range s.Spec.Ports {
			checkPort(t, name, p, m.set.Spec.Template.Spec.Containers[0].Ports)
		}
	}
	headless := m.services[m.set.Spec.ServiceName]
	if headless == nil || headless.Spec.ClusterIP != "None" || !headless.Spec.PublishNotReadyAddresses {
		t.Errorf("the set's service is not headless, or hides nodes that start: %v", headless)
	}
	if n := m.budget.Spec.MaxUnavailable; n == nil || n.IntValue() != 1 {
		t.Errorf("the budget lets %v go at once", n)
	}
}

// checkPort wants the target of a service's port to be one of the container's.
func checkPort(t *testing.T, service string, p corev1.ServicePort, have []corev1.ContainerPort) {
	t.Helper()
	target := p.TargetPort
	if target == intstr.FromInt32(0) {
		target = intstr.FromInt32(p.Port)
	}
	if !slices.ContainsFunc(have, func(c corev1.ContainerPort) bool {
		return c.Protocol == p.Protocol &&
			(c.Name == target.StrVal || c.ContainerPort == target.IntVal)
	}) {
		t.Errorf("service %s: the container has no %s port %v", service, p.Protocol, target)
	}
}

// TestKubernetesPod: what the pod mounts exists, what it may do is little, and
// its probes ask what the API has.
func TestKubernetesPod(t *testing.T) {
	m := readManifests(t)
	spec := m.set.Spec.Template.Spec
	c := spec.Containers[0]
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
	}
	for _, v := range m.set.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, v := range c.VolumeMounts {
		if !volumes[v.Name] {
			t.Errorf("nothing to mount at %s", v.MountPath)
		}
	}
	s := c.SecurityContext
	if !*spec.SecurityContext.RunAsNonRoot || *s.AllowPrivilegeEscalation ||
		!*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Error("the pod may do more than it needs")
	}
	for path, p := range map[string]*corev1.Probe{
		"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe,
	} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path || p.HTTPGet.Scheme != "HTTPS" ||
			p.HTTPGet.Port.StrVal != "https" {
			t.Errorf("the probe for %s is %+v", path, p)
		}
	}
}

// TestKubernetesConfig: the node takes the configuration that a pod gives it.
func TestKubernetesConfig(t *testing.T) {
	m := readManifests(t)
	c := m.set.Spec.Template.Spec.Containers[0]
	vars := map[string]string{"HOST_IP": "192.0.2.7"}
	var env []string
	for _, v := range c.Env {
		value := os.Expand(strings.ReplaceAll(strings.ReplaceAll(v.Value, "$(", "${"), ")", "}"),
			func(name string) string { return vars[name] })
		if v.Name == "ATOLL_NAME" {
			value = m.set.Name + "-1"
		}
		if _, known := vars[v.Name]; !known {
			vars[v.Name] = value
			env = append(env, v.Name+"="+value)
		}
	}
	file := filepath.Join(t.TempDir(), "atoll.yaml")
	if err := os.WriteFile(file, []byte(m.config.Data["atoll.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	got := show(t, file, env)
	for _, want := range []string{
		"name: atoll-1", "advertise: 192.0.2.7:7950", "cert: /etc/atoll/tls/atoll-1.pem",
		"key: /etc/atoll/tls/atoll-1-key.pem", "data: /data",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for i := range *m.set.Spec.Replicas {
		peer := m.set.Name + "-" + string('0'+rune(i)) + "." + m.set.Spec.ServiceName + "." +
			m.set.Namespace + ".svc.cluster.local:7950"
		if !strings.Contains(got, "- "+peer+"\n") {
			t.Errorf("join does not name %s", peer)
		}
	}
}
